package rotate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// consume uses what is handed out until its Expiration for d, and reports every
// refusal and how many keys there were.
func (h *house) consume(t *testing.T, user string, d time.Duration) int {
	t.Helper()
	keys := map[string]bool{}
	disp := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store}
	for end := time.Now().Add(d); time.Now().Before(end); {
		c, err := disp.Give(t.Context(), user, rotate.Recipient{Caller: "app"})
		if err != nil {
			t.Errorf("Give(%q) = %v", user, err)
			return len(keys)
		}
		keys[c.KeyID] = true
		for time.Now().Before(c.Expiration) && time.Now().Before(end) {
			if !h.works(c) {
				t.Errorf("%s is refused %s before its Expiration", c.KeyID, time.Until(c.Expiration))
				return len(keys)
			}
			time.Sleep(5 * time.Second)
		}
	}
	return len(keys)
}

// live runs the scheduler while somebody consumes, and returns the keys seen.
func (h *house) live(t *testing.T, user string, d time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d+time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	n := h.consume(t, user, d)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run() = %v", err)
	}
	return n
}

func TestARenamedUserIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		var audit events
		h.Audit = &audit
		h.turn(t, rotate.Options{})
		h.live(t, "ci", 11*time.Minute) // there are two keys
		h.aws.RenameUser("ci", "ci-new")
		if n := h.live(t, "ci", time.Hour); n < 5 {
			t.Errorf("%d keys in an hour after the renaming, want about 6", n)
		}
		es, err := h.store.List(t.Context())
		if err != nil || len(es) != 1 || es[0].Record.User != "ci" || es[0].Record.Renamed != "ci-new" {
			t.Fatalf("the store has %+v, %v, want ci, renamed to ci-new", es, err)
		}
		for _, k := range h.aws.Truth("ci-new") {
			if es[0].Record.Key(k.ID) == nil {
				t.Errorf("%s was left behind", k.ID)
			}
		}
		if log := h.log.String(); strings.Contains(log, "did not create") || strings.Contains(log, string(plan.ForeignKey)) {
			t.Error("keys that keyrot holds were reported as foreign")
		}
		if n := slices.IndexFunc(audit.all, func(e rotate.Event) bool {
			return e.Action == string(plan.Follow) && e.User == "ci" && strings.Contains(e.Reason, "ci-new")
		}); n < 0 {
			t.Error("the renaming is not on record")
		}
		// By hand, by either name; and back.
		for _, name := range []string{"ci", "ci-new"} {
			before := h.give(t, "ci")
			if rep := h.turn(t, rotate.Options{Users: []string{name}, Force: true}); len(rep.Users) != 1 || rep.Users[0].User != "ci" {
				t.Errorf("a forced rotation of %q is one of %+v, want ci", name, rep.Users)
			}
			h.run(t, 8*time.Minute)
			if after := h.give(t, "ci"); after.KeyID == before.KeyID || !h.works(after) {
				t.Errorf("a forced rotation of %q did nothing", name)
			}
		}
		h.aws.RenameUser("ci-new", "ci")
		h.live(t, "ci", 30*time.Minute)
		if e, err := h.store.Load(t.Context(), "ci"); err != nil || e.Record.Renamed != "" {
			t.Errorf("after renaming back, the record says %q, %v", e.Record.Renamed, err)
		}
	})
}

// TestARenamedUserThatIsNotSelected has a selection by name, which knows only
// the old one: the user stands still, is served, and loses nothing.
func TestARenamedUserThatIsNotSelected(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		name := "ci"
		h.Select = func(ctx context.Context) ([]rotate.User, error) {
			u, err := h.aws.User(ctx, name)
			if err != nil {
				return nil, err
			}
			return []rotate.User{u}, nil
		}
		h.turn(t, rotate.Options{})
		h.live(t, "ci", 11*time.Minute)
		before, _ := h.store.Load(t.Context(), "ci")
		h.aws.RenameUser("ci", "ci-new")
		if n := h.live(t, "ci", time.Hour); n != 1 {
			t.Errorf("%d keys were handed out, want the one", n)
		}
		after, err := h.store.Load(t.Context(), "ci")
		if err != nil || len(after.Record.Keys) != len(before.Record.Keys) {
			t.Errorf("%d keys are held, %v, want the %d from before", len(after.Record.Keys), err, len(before.Record.Keys))
		}
		name = "ci-new"
		if n := h.live(t, "ci", time.Hour); n < 5 {
			t.Errorf("%d keys in an hour once the new name is selected, want about 6", n)
		}
	})
}

// TestTheOldNameOfARenamedUserIsTaken has somebody else under the name: nothing
// of theirs is touched, and nothing of the renamed user's is lost.
func TestTheOldNameOfARenamedUserIsTaken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		h.live(t, "ci", 11*time.Minute)
		h.aws.RenameUser("ci", "ci-new")
		h.aws.AddUser("ci", "/", nil)
		theirs, err := h.aws.Plant("ci")
		if err != nil {
			t.Fatal(err)
		}
		if n := h.live(t, "ci", time.Hour); n < 5 {
			t.Errorf("%d keys in an hour, want about 6", n)
		}
		if keys := h.aws.Truth("ci"); len(keys) != 1 || keys[0].ID != theirs || keys[0].Status != plan.Active {
			t.Errorf("the other user now has %+v, want its one active key", keys)
		}
		if !strings.Contains(h.log.String(), rotate.ErrNameTaken.Error()) {
			t.Error("nobody was told why the other user is not managed")
		}
	})
}

// TestNotEvenAListIsMistaken reads the list of another user of the same name,
// before the selection has told: no held key is forgotten because of it.
func TestNotEvenAListIsMistaken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		h.run(t, 11*time.Minute)
		h.Select = func(context.Context) ([]rotate.User, error) { return []rotate.User{{Name: "ci"}}, nil }
		h.aws.RenameUser("ci", "ci-new")
		h.aws.AddUser("ci", "/", nil)
		h.live(t, "ci", time.Hour)
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil || len(e.Record.Keys) != 2 || len(e.Secrets) != 2 {
			t.Errorf("%d keys are held with %d secrets, %v, want 2", len(e.Record.Keys), len(e.Secrets), err)
		}
	})
}

func TestImportUnderANewName(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, c := oneKey(t)
		h.aws.RenameUser("ci", "ci-new")
		if err := h.Import(t.Context(), "ci-new", c.KeyID, c.Secret, "test"); !errors.Is(err, rotate.ErrManagedAs) {
			t.Errorf("Import() = %v, want %v", err, rotate.ErrManagedAs)
		}
		rep, err := h.RunOnce(t.Context(), rotate.Options{DryRun: true})
		if err != nil || len(rep.Users) != 1 || rep.Users[0].Err != nil {
			t.Errorf("RunOnce() = %+v, %v, want one user that is well", rep, err)
		}
		if n := h.aws.Calls(rotatetest.CreateKey); n != 1 {
			t.Errorf("%d keys were created, want 1", n)
		}
	})
}
