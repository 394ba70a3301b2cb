package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

func TestBurnReplacesTheLeakedKey(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	if code, out, errs := s.Run("users", "enroll"); code != 0 {
		t.Fatalf("enroll = %d\n%s%s", code, out, errs)
	}
	leaked := s.AWS.Working("ci")
	code, out, errs := s.Run("burn", "ci", "--reason", "in a public repository")
	if code != 0 || !strings.Contains(errs, "is burned: AWS refuses it") {
		t.Errorf("burn = %d\n%s%s", code, out, errs)
	}
	if now := s.AWS.Working("ci"); len(now) != 1 || slices.Contains(now, leaked[0]) {
		t.Errorf("keys that work after the burn of %v = %v, want one other", leaked, now)
	}
}

func TestBurnAsItIsMistyped(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	s.Succeed("users", "enroll")
	before := s.AWS.Working("ci")
	s.Refused(2, "not managed", "burn", "nobody")
	s.Refused(2, "keyrot status", "burn", "ci", "--key", "AKIANOTHELD")
	s.Refused(2, "accepts 1 arg", "burn")
	if _, errs := s.Succeed("burn", "ci", "--dry-run"); !strings.Contains(errs, "dry run, nothing was changed") {
		t.Errorf("burn --dry-run said %q", errs)
	}
	if now := s.AWS.Working("ci"); !slices.Equal(before, now) || s.Record("ci").Order != nil {
		t.Errorf("keys that work = %v, were %v", now, before)
	}
}

// TestBurnThatIAMRefuses: the order stands, for whoever can carry it out.
func TestBurnThatIAMRefuses(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"denied": rotate.ErrDenied, "throttled": rotate.ErrThrottled} {
		s := newShell(t, "settle: 0s", "ci")
		s.Succeed("users", "enroll")
		leaked := s.AWS.Working("ci")[0]
		s.Strike(err)
		s.Refused(1, "the order is recorded", "burn", "ci", "--wait", "0s")
		if _, errs := s.Succeed("status", "ci"); errs != "" {
			t.Errorf("%s: status said %q", name, errs)
		}
		s.Strike(nil)
		s.Succeed("burn", "ci")
		if now := s.AWS.Working("ci"); len(now) != 1 || now[0] == leaked {
			t.Errorf("%s: keys that work afterwards = %v, want another one than %s", name, now, leaked)
		}
	}
}

func TestRollbackGoesBackAndPauses(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	s.Succeed("users", "enroll")
	s.Refused(4, "a previous key exists from a rotation", "rollback", "ci")
	former := s.AWS.Working("ci")[0]
	s.Succeed("rotate-once", "--force")
	s.Refused(2, "keyrot status", "rollback", "ci", "--key", "AKIANOTHELD")
	s.Succeed("rollback", "ci", "--dry-run")
	if r := s.Record("ci"); r.Order != nil || r.In(plan.Current).ID == former {
		t.Errorf("rollback --dry-run left %+v", r)
	}
	s.Strike(rotate.ErrDenied)
	s.Refused(1, "", "rollback", "ci", "--wait", "0s")
	s.Strike(nil)
	s.Succeed("rollback", "ci", "--reason", "the vendor cannot read the new one")
	if r := s.Record("ci"); r.In(plan.Current).ID != former || !r.Paused(time.Now()) {
		t.Errorf("after the roll-back: current key %s, paused %t, want %s and true", r.In(plan.Current).ID, r.Paused(time.Now()), former)
	}
}

// TestKeysByTheirEnd: the ids that keyrot prints, and ends of ids, are taken
// wherever a key is named, unless they could be several.
func TestKeysByTheirEnd(t *testing.T) {
	t.Parallel()
	ids := []string{"AKIAIOSFODNN7EXAMPLE", "AKIAI44QH8DHBEXAMPLE", "AKIAAAAAAAAAAAAAAAF2"}
	for text, want := range map[string]string{
		"": "", "AKIAIOSFODNN7EXAMPLE": "AKIAIOSFODNN7EXAMPLE", "AKIA…F2": "AKIAAAAAAAAAAAAAAAF2", "…F2": "AKIAAAAAAAAAAAAAAAF2",
		"AKIA...F2": "AKIAAAAAAAAAAAAAAAF2", "F2": "AKIAAAAAAAAAAAAAAAF2", "N7EXAMPLE": "AKIAIOSFODNN7EXAMPLE",
		"2": "2", "AKIAIOSF": "AKIAIOSF", "ASIA…F2": "ASIA…F2", "…": "…",
	} {
		if got, err := wholeKey(text, ids); got != want || err != nil {
			t.Errorf("wholeKey(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"EXAMPLE", "AKIA…LE"} {
		if _, err := wholeKey(text, ids); exitCode(err) != 2 || !strings.Contains(err.Error(), "any of AKIAI44QH8DHBEXAMPLE, AKIAIOSFODNN7EXAMPLE") {
			t.Errorf("wholeKey(%q): %v, want it refused, with those that it could be", text, err)
		}
	}
	s := newShell(t, "settle: 0s", "ci")
	s.Succeed("users", "enroll")
	key := s.AWS.Working("ci")[0]
	s.Succeed("burn", "ci", "--key", api.ShortKey(key))
	if now := s.AWS.Working("ci"); slices.Contains(now, key) {
		t.Errorf("%s works after it was burned by its shortened id", key)
	}
	out, _ := s.Succeed("status", "-o", "json")
	if !strings.Contains(out, `"key": "`+s.AWS.Working("ci")[0]+`"`) {
		t.Errorf("status -o json has no whole id: %s", out)
	}
}

// TestWhoHasGivesNoFalseAllClear: that nobody was given a key is said of keyrot's
// own keys only.
func TestWhoHasGivesNoFalseAllClear(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	s.Succeed("users", "enroll")
	key := s.AWS.Working("ci")[0]
	s.Refused(4, "nobody was given key "+key, "whohas", api.ShortKey(key))
	s.Refused(2, "did you mean "+key+"?", "whohas", key[:12])
	s.Refused(2, "not a key that this store or its audit log knows", "whohas", "AKIAIOSFODNN7EXAMPLE")
	out, _ := s.Succeed("api-key", "create", "--name", "mailer", "--users", "ci", "-o", "json")
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	s.Opened(func(st store) error {
		if k, err := (&auth.Keys{Settings: st}).ByID(t.Context(), made.ID); err != nil || k.Name != "mailer" {
			t.Errorf("ByID = %+v, %v", k, err)
		}
		return st.RecordHandout(t.Context(), made.ID, "ci", key, "10.0.0.1", time.Now())
	})
	if out, _ := s.Succeed("whohas", api.ShortKey(key)); !strings.Contains(out, made.ID) || !strings.Contains(out, "mailer") {
		t.Errorf("whohas =\n%s\nwant the caller by id and name", out)
	}
	var holders []holder
	out, _ = s.Succeed("whohas", key, "-o", "json")
	if err := json.Unmarshal([]byte(out), &holders); err != nil || len(holders) != 1 || holders[0].Name != "mailer" || holders[0].Key != key {
		t.Errorf("whohas -o json = %s, %v", out, err)
	}
}
