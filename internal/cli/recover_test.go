package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestRecoverAsks: nothing is ordered that nobody agreed to, and of two active
// keys none is chosen by keyrot.
func TestRecoverAsks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		keys    string // of the user, which is new: A active, I inactive, O active and named by --ours, K by --keep
		answers string // FIRST stands for the first key's id
		room    string // --make-room
		yes     bool
		dry     bool
		code    int
		goes    int // index of the key that may go; -1: none
		ordered bool
	}{
		{"one key, agreed", "A", "yes\nyes\n", "", false, false, 0, -1, true},
		{"one key that is not keyrot's", "A", "no\nyes\n", "", false, false, 0, -1, false},
		{"one key, refused", "A", "yes\nno\n", "", false, false, 2, -1, false},
		{"one key, nobody answers", "A", "", "", false, false, 0, -1, false},
		{"one key, --yes alone", "A", "", "", true, false, 0, -1, false},
		{"one key, --yes and --ours", "O", "", "", true, false, 0, -1, true},
		{"one key, --yes and --keep", "K", "", "", true, false, 0, -1, false},
		{"--keep is not asked about", "K", "yes\nyes\n", "", false, false, 0, -1, false},
		{"a dry run", "O", "", "", false, true, 0, -1, false},
		{"an inactive key goes by itself", "AI", "yes\nyes\nyes\n", "", false, false, 0, 1, true},
		{"an inactive key of somebody else's does not", "OI", "", "", true, false, 2, -1, false},
		{"of two active keys one is chosen", "AA", "yes\nyes\nFIRST\nyes\n", "", false, false, 3, 0, true},
		{"of two active keys one is chosen, and then no", "AA", "yes\nyes\nFIRST\nno\n", "", false, false, 2, -1, false},
		{"of two active keys none is chosen", "AA", "yes\nyes\nAKIANOBODYS\nyes\n", "", false, false, 2, -1, false},
		{"two active keys, --yes and no choice", "OO", "", "", true, false, 2, -1, false},
		{"two active keys, --yes and --make-room", "OO", "", "FIRST", true, false, 3, 0, true},
		{"the last active key cannot go", "OI", "", "FIRST", true, false, 3, -1, false},
		{"no key", "", "", "", true, false, 4, -1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e, _, errs := testEnv(t, nil)
			e.Now = time.Now
			cfg, err := e.loadValid(common{File: os.DevNull, Flags: map[string]any{"settle": "0s"}})
			if err != nil {
				t.Fatal(err)
			}
			fake := &rotatetest.AWS{}
			fake.AddUser("ci", "/", nil)
			o := recoverOptions{common: common{Output: "text"}, Yes: tc.yes, DryRun: tc.dry, Wait: time.Second}
			var ids []string
			for _, status := range tc.keys {
				id, err := fake.Plant("ci")
				if err != nil {
					t.Fatal(err)
				}
				switch status {
				case 'I':
					fake.Switch("ci", id, plan.Inactive)
				case 'O':
					o.Ours = append(o.Ours, id)
				case 'K':
					o.Keep = append(o.Keep, id)
				}
				ids = append(ids, id)
			}
			s, err := open(t.Context(), e, cfg, cloud{IAM: fake, Clock: rotatetest.Clock(), Quick: true, Select: func(context.Context) ([]rotate.User, error) { return fake.Users(), nil }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.close(context.Background()) })
			first := strings.NewReplacer("FIRST", append(ids, "")[0])
			e.In = strings.NewReader(first.Replace(tc.answers))
			s.rotator.Dry = tc.dry
			if tc.room != "" {
				o.Room = []string{first.Replace(tc.room)}
			}
			if err := e.recoverIn(t.Context(), o, s); exitCode(err) != tc.code {
				t.Errorf("recover = %v (%d), want exit code %d\n%s", err, exitCode(err), tc.code, errs)
			}
			entry, err := s.store.Load(t.Context(), "ci")
			if errors.Is(err, rotate.ErrNotFound) == tc.ordered {
				t.Fatalf("the user is ordered to be recovered: %v, want %t", err, tc.ordered)
			}
			if o := entry.Record.Order; o != nil && (tc.goes < 0 || o.KeyID != ids[tc.goes]) {
				t.Errorf("the order is %+v", o)
			}
			for i, k := range fake.Truth("ci")[:min(len(ids), len(fake.Truth("ci")))] {
				if i != tc.goes && k.ID == ids[i] && tc.keys[i] != 'I' && k.Status != plan.Active {
					t.Errorf("key %d is %s", i, k.Status)
				}
			}
		})
	}
}

// A user that cannot be looked at, because it was deleted or its entry is
// damaged, keeps no other from being recovered.
func TestRecoverGoesOnToOthers(t *testing.T) {
	t.Parallel()
	e, out, errs := testEnv(t, nil)
	e.Now = time.Now
	cfg, err := e.loadValid(common{File: os.DevNull, Flags: map[string]any{"settle": "0s"}})
	if err != nil {
		t.Fatal(err)
	}
	fake := &rotatetest.AWS{}
	fake.AddUser("ci", "/", nil)
	id, err := fake.Plant("ci")
	if err != nil {
		t.Fatal(err)
	}
	s, err := open(t.Context(), e, cfg, cloud{IAM: fake, Clock: rotatetest.Clock(), Quick: true, Select: func(context.Context) ([]rotate.User, error) {
		return append([]rotate.User{{Name: "ann"}}, fake.Users()...), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close(context.Background()) })
	err = e.recoverIn(t.Context(), recoverOptions{common: common{Output: "text"}, Yes: true, Ours: []string{id}, Wait: time.Second}, s)
	entry, lerr := s.store.Load(t.Context(), "ci")
	if exitCode(err) != 3 || lerr != nil || entry.Record.In(plan.Current) == nil || !strings.Contains(out.String(), "ann") {
		t.Errorf("recover = %v; ci's keys %+v, %v, want a new one, and ann's failure told\n%s%s", err, entry.Record.Keys, lerr, out, errs)
	}
}
