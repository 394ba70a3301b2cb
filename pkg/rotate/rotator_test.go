package rotate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// house is a rotator with all that belongs to it.
type house struct {
	*rotate.Rotator
	aws   *rotatetest.AWS
	store *rotatetest.MemStore
	log   *bytes.Buffer
}

func newHouse(users ...string) *house {
	h := &house{aws: &rotatetest.AWS{}, store: &rotatetest.MemStore{}, log: &bytes.Buffer{}}
	for _, u := range users {
		h.aws.AddUser(u, "/", nil)
	}
	h.Rotator = &rotate.Rotator{
		Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Owner: "test",
		Log:    slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Select: func(context.Context) ([]rotate.User, error) { return h.aws.Users(), nil },
	}
	return h
}

// turn makes one patient pass and fails the test if the pass fails.
func (h *house) turn(t *testing.T, o rotate.Options) rotate.Report {
	t.Helper()
	o.Patience = time.Minute
	rep, err := h.RunOnce(t.Context(), o)
	if err != nil {
		t.Fatalf("RunOnce() = %v", err)
	}
	for _, u := range rep.Failed() {
		t.Fatalf("RunOnce() for %s = %v", u.User, u.Err)
	}
	return rep
}

func (h *house) give(t *testing.T, user string) rotate.Credential {
	t.Helper()
	c, err := (&rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store}).Give(t.Context(), user, rotate.Recipient{Caller: "test"})
	if err != nil {
		t.Fatalf("Give(%q) = %v", user, err)
	}
	return c
}

// inBubble runs f in virtual time.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// changed reports whether any step was taken.
func changed(r rotate.Report) bool {
	return slices.ContainsFunc(r.Users, func(u rotate.UserReport) bool { return len(u.Steps) > 0 })
}

func actions(u rotate.UserReport) string {
	var all []string
	for _, d := range u.Steps {
		all = append(all, string(d.Step.Action))
	}
	return strings.Join(all, " ")
}

func TestOnePassRotates(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		rep := h.turn(t, rotate.Options{})
		if got, want := actions(rep.Users[0]), "identify create verify verify promote"; got != want {
			t.Errorf("the first pass did %q, want %q", got, want)
		}
		first := h.give(t, "ci")
		if err := h.aws.Use(first.KeyID, first.Secret.Reveal()); err != nil {
			t.Errorf("the handed-out key is refused: %v", err)
		}
		if left := time.Until(first.Expiration); left < 11*time.Minute || left > 12*time.Minute {
			t.Errorf("the first key expires in %s, want just under 12m", left)
		}
		if rep = h.turn(t, rotate.Options{}); changed(rep) {
			t.Errorf("a second pass at once did %q, want nothing", actions(rep.Users[0]))
		}
		h.turn(t, rotate.Options{Force: true})
		if second := h.give(t, "ci"); second.KeyID == first.KeyID {
			t.Error("--force did not rotate")
		}
	})
}

func TestDryRunChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		rep, err := h.RunOnce(t.Context(), rotate.Options{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := actions(rep.Users[0]), "identify create verify"; got != want {
			t.Errorf("the rehearsal shows %q, want %q", got, want)
		}
		if es, _ := h.store.List(t.Context()); len(es) != 0 {
			t.Errorf("the rehearsal left %d entries in the store, want none", len(es))
		}
		for _, op := range []rotatetest.Op{rotatetest.CreateKey, rotatetest.UpdateKey, rotatetest.DeleteKey} {
			if n := h.aws.Calls(op); n != 0 {
				t.Errorf("the rehearsal called %s %d times, want 0", op, n)
			}
		}
	})
}

func TestSelectionFailsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		broken := errors.New("AccessDenied")
		h.Select = func(context.Context) ([]rotate.User, error) { return nil, broken }
		if _, err := h.RunOnce(t.Context(), rotate.Options{}); !errors.Is(err, broken) {
			t.Errorf("RunOnce() with an unreadable selection = %v, want it to wrap %v", err, broken)
		}
		h.Select = func(context.Context) ([]rotate.User, error) { return nil, nil }
		if _, err := h.RunOnce(t.Context(), rotate.Options{}); !errors.Is(err, rotate.ErrNoUsers) {
			t.Errorf("RunOnce() with an empty selection = %v, want %v", err, rotate.ErrNoUsers)
		}
		h.Select = func(context.Context) ([]rotate.User, error) { return h.aws.Users(), nil }
		if _, err := h.RunOnce(t.Context(), rotate.Options{Users: []string{"nobody"}}); !errors.Is(err, rotate.ErrNotSelected) {
			t.Errorf("RunOnce() for a user outside = %v, want %v", err, rotate.ErrNotSelected)
		}
		if n := h.aws.Calls(rotatetest.CreateKey); n != 0 {
			t.Errorf("%d keys were created, want 0", n)
		}
	})
}

func TestForeignKeysAreRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci", "web")
		k1, _, _ := h.aws.Create(t.Context(), "ci")
		k2, _, _ := h.aws.Create(t.Context(), "ci")
		rep, err := h.RunOnce(t.Context(), rotate.Options{Patience: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if err := rep.Users[0].Err; !errors.Is(err, rotate.ErrForeignKey) ||
			!strings.Contains(err.Error(), rotate.ShortID(k1.ID)) || !strings.Contains(err.Error(), rotate.ShortID(k2.ID)) {
			t.Errorf("the user with two foreign keys got %v, want an error that names both", err)
		}
		if rep.Users[1].Err != nil {
			t.Errorf("another user's pass failed with it: %v", rep.Users[1].Err)
		}
		if got := len(h.aws.Truth("ci")); got != 2 {
			t.Errorf("the foreign keys are now %d, want 2 untouched", got)
		}
	})
}

func TestRetiringKeyGivesWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.Existing = rotate.Retire
		old, _, _ := h.aws.Create(t.Context(), "ci")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Hour)
		defer cancel()
		if err := h.Run(ctx); err != nil {
			t.Fatal(err)
		}
		for _, k := range h.aws.Truth("ci") {
			if k.ID == old.ID {
				t.Errorf("the old key is still %s after a day without use", k.Status)
			}
		}
		h.give(t, "ci")
	})
}

func TestOneUsersFailureStopsNobody(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("a", "b", "c")
		h.aws.Fault = func(_ rotatetest.Op, user, _ string) rotatetest.Fault {
			if user == "b" {
				return rotatetest.Before
			}
			return rotatetest.None
		}
		rep, err := h.RunOnce(t.Context(), rotate.Options{Patience: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if f := rep.Failed(); len(f) != 1 || f[0].User != "b" {
			t.Errorf("failed users are %v, want b only", f)
		}
		h.give(t, "a")
		h.give(t, "c")
	})
}

// TestShutdownKeepsTheSecret ends the rotator's context while CreateAccessKey
// is under way. The key exists then, and IAM shows its secret only now.
func TestShutdownKeepsTheSecret(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		ctx, cancel := context.WithCancel(t.Context())
		h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
			if op == rotatetest.CreateKey {
				cancel()
			}
			return rotatetest.None
		}
		_, _ = h.RunOnce(ctx, rotate.Options{})
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		keys := h.aws.Truth("ci")
		if len(keys) != 1 || e.Secrets[keys[0].ID].IsZero() {
			t.Errorf("after a shutdown during the call IAM has %d keys and the store %d secrets, want 1 and its secret", len(keys), len(e.Secrets))
		}
	})
}

// failingAudit takes nothing.
type failingAudit struct{}

func (failingAudit) Append(context.Context, rotate.Event) error { return errors.New("disk full") }

func TestNoEffectWithoutAudit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		h.Audit = failingAudit{}
		_, err := h.RunOnce(t.Context(), rotate.Options{Force: true})
		_ = err // the report has it
		time.Sleep(11 * time.Minute)
		_, _ = h.RunOnce(t.Context(), rotate.Options{})
		if n := h.aws.Calls(rotatetest.CreateKey); n != 1 {
			t.Errorf("%d keys were created although the audit log failed, want only the one from before", n)
		}
		d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store, Audit: failingAudit{}}
		if _, err := d.Give(t.Context(), "ci", rotate.Recipient{}); err == nil {
			t.Error("a key was handed out although the audit log failed")
		}
		var held rotate.Credential
		c, err := d.Give(t.Context(), "ci", rotate.Recipient{Holds: func(c rotate.Credential) bool { held = c; return true }})
		if err != nil || c.KeyID == "" || held.KeyID != c.KeyID {
			t.Errorf("Give to who holds %s = %s, %v, want it told without a record", held.KeyID, c.KeyID, err)
		}
	})
}

// events is an audit log that refuses one action.
type events struct {
	all    []rotate.Event
	refuse plan.Action
}

func (a *events) Append(_ context.Context, e rotate.Event) error {
	if e.Action == string(a.refuse) {
		return errors.New("no space left on device")
	}
	a.all = append(a.all, e)
	return nil
}

func TestProofIsOnRecordBeforeItIsSaved(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		log := &events{refuse: plan.Verify}
		h.Audit = log
		_, _ = h.RunOnce(t.Context(), rotate.Options{Patience: time.Minute})
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		k := e.Record.In(plan.Pending)
		if k == nil || !k.Proven.IsZero() {
			t.Fatalf("key = %+v, want one without proof: the audit log did not take it", k)
		}
		log.refuse = ""
		h.turn(t, rotate.Options{})
		var got []string
		for _, e := range log.all {
			if e.Key == k.ID {
				got = append(got, e.Action+" "+e.Result)
			}
		}
		want := []string{"create ok", "verify ok", "verify ok", "promote ", "promote ok"}
		if !slices.Equal(got, want) {
			t.Errorf("on record: %q, want %q", got, want)
		}
	})
}

// TestLostRaceIsNotOverwritten lets another process change the record while a
// pass is at work.
func TestLostRaceIsNotOverwritten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		var once sync.Once
		h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
			if op == rotatetest.CallerIdentity {
				once.Do(func() {
					e, err := h.store.Load(t.Context(), "ci")
					if err != nil {
						t.Error(err)
					}
					e.Record.In(plan.Current).Broken = time.Now()
					if _, err := h.store.Save(t.Context(), e); err != nil {
						t.Error(err)
					}
				})
			}
			return rotatetest.None
		}
		_, _ = h.RunOnce(t.Context(), rotate.Options{Force: true})
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		if cur := e.Record.In(plan.Current); cur == nil || cur.Broken.IsZero() {
			t.Error("the pass overwrote what another process had saved")
		}
	})
}

func TestLeaseKeepsOthersOut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		if _, err := h.store.Acquire(t.Context(), "ci", "other", time.Now(), time.Minute); err != nil {
			t.Fatal(err)
		}
		rep := h.turn(t, rotate.Options{})
		if changed(rep) {
			t.Errorf("a pass under another's lease did %q, want nothing", actions(rep.Users[0]))
		}
		time.Sleep(61 * time.Second)
		if rep = h.turn(t, rotate.Options{}); !changed(rep) {
			t.Error("nothing was done after the other's lease had ended")
		}
	})
}

// TestFewCalls pins the number of calls of one whole cycle: the three changes, a
// list before the creation and one before the deletion, two proofs and a probe.
func TestFewCalls(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
		defer cancel()
		before := map[rotatetest.Op]int{}
		ops := []rotatetest.Op{rotatetest.CreateKey, rotatetest.UpdateKey, rotatetest.DeleteKey, rotatetest.ListKeys, rotatetest.GetUser, rotatetest.CallerIdentity, rotatetest.KeyLastUsed}
		for _, op := range ops {
			before[op] = h.aws.Calls(op)
		}
		if err := h.Run(ctx); err != nil {
			t.Fatal(err)
		}
		cycles := h.aws.Calls(rotatetest.CreateKey) - before[rotatetest.CreateKey]
		perCycle := map[rotatetest.Op]float64{}
		for _, op := range ops {
			perCycle[op] = float64(h.aws.Calls(op)-before[op]) / float64(cycles)
		}
		for op, most := range map[rotatetest.Op]float64{
			rotatetest.UpdateKey: 1.05, rotatetest.DeleteKey: 1.05, rotatetest.GetUser: 0,
			rotatetest.ListKeys: 2.1, rotatetest.CallerIdentity: 7.1, rotatetest.KeyLastUsed: 0,
		} {
			if perCycle[op] > most {
				t.Errorf("%s was called %.2f times per rotation, want at most %.2f", op, perCycle[op], most)
			}
		}
		if cycles < 59 || cycles > 62 {
			t.Errorf("%d rotations in 10 hours, want about 60", cycles)
		}
	})
}

func TestSecretsDoNotLeak(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, c := oneKey(t)
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		h.Log.Info("test", "credential", c, "entry", e, "secret", c.Secret)
		nested := struct{ hidden struct{ s rotate.Secret } }{}
		nested.hidden.s = c.Secret
		js, _ := json.Marshal(map[string]any{"c": c, "e": e})
		printed := h.log.String() + string(js) + fmt.Sprintf("%v %+v %#v %d %s %q %x %v", c, c, c, c.Secret, c.Secret, c.Secret, c.Secret, nested) +
			fmt.Sprint(errors.Join(fmt.Errorf("x: %v", c)))
		if strings.Contains(printed, c.Secret.Reveal()) {
			t.Error("the secret was printed")
		}
		if strings.Contains(h.log.String(), `"key":"`+c.KeyID) {
			t.Error("the log holds a whole key id")
		}
	})
}
