package auth_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// book is an audit log in memory that can be full.
type book struct {
	mu     sync.Mutex
	events []rotate.Event
	fail   error
}

func (b *book) Append(_ context.Context, e rotate.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	b.events = append(b.events, e)
	return nil
}

func TestRotateKeepsTheOldSecretForTheOverlap(t *testing.T) {
	t.Parallel()
	w := newWorld()
	ctx := t.Context()
	first, k := mustCreate(t, w.keys, reader)
	checked, err := w.keys.Check(ctx, first)
	if err != nil {
		t.Fatal(err)
	}
	oldToken := w.issue(t, checked)
	second, _, err := w.keys.Rotate(ctx, k.ID, time.Minute)
	if err != nil || second == first {
		t.Fatalf("Rotate = %v, same %v", err, second == first)
	}
	newRecord, err := w.keys.Check(ctx, second)
	if err != nil {
		t.Fatal(err)
	}
	newToken := w.issue(t, newRecord)
	good := func(when string, old, fresh error) {
		t.Helper()
		for _, c := range []struct {
			what string
			got  error
			want error
		}{
			{"old secret", second2(w.keys.Check(ctx, first)), old},
			{"new secret", second2(w.keys.Check(ctx, second)), fresh},
		} {
			if !errors.Is(c.got, c.want) {
				t.Errorf("%s: %s = %v, want %v", when, c.what, c.got, c.want)
			}
		}
		if _, err := w.tokens.Verify(ctx, oldToken); (err == nil) != (old == nil) {
			t.Errorf("%s: token of the old secret = %v", when, err)
		}
		if _, err := w.tokens.Verify(ctx, newToken); (err == nil) != (fresh == nil) {
			t.Errorf("%s: token of the new secret = %v", when, err)
		}
	}
	good("during the overlap", nil, nil)
	w.clk.advance(time.Minute)
	good("after the overlap", auth.ErrBadKey, nil)
	third, _, err := w.keys.Rotate(ctx, k.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	good("after a rotation without overlap", auth.ErrBadKey, auth.ErrBadKey)
	if err := w.keys.Revoke(ctx, k.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.keys.Check(ctx, third); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("after revocation = %v", err)
	}
}

func second2(_ auth.Key, err error) error { return err }

func TestRevocationEndsOverlaps(t *testing.T) {
	t.Parallel()
	w := newWorld()
	first, k := mustCreate(t, w.keys, reader)
	if _, _, err := w.keys.Rotate(t.Context(), k.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := w.keys.Revoke(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.keys.Check(t.Context(), first); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("Check = %v, want ErrBadKey", err)
	}
}

func TestRotateRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.keys.Adopted = "stack"
	ctx := t.Context()
	_, revoked := mustCreate(t, w.keys, reader)
	if err := w.keys.Revoke(ctx, revoked.ID); err != nil {
		t.Fatal(err)
	}
	_, fine := mustCreate(t, w.keys, reader)
	if err := w.keys.Adopt(ctx, chosen, auth.Key{Users: []string{"*"}, Role: auth.Reader}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, id string
		overlap  time.Duration
		want     error
	}{
		{"a key that is not there", "abcdefghijkl", 0, auth.ErrNoSuchKey},
		{"a revoked key", revoked.ID, 0, auth.ErrNotRotatable},
		{"a key that was chosen elsewhere", "stack", 0, auth.ErrNotRotatable},
		{"a negative overlap", fine.ID, -1, nil},
	} {
		if _, _, err := w.keys.Rotate(ctx, c.id, c.overlap); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: Rotate = %v, want %v", c.name, err, c.want)
		}
	}
}

func TestChangesAreOnRecordBeforeTheyHappen(t *testing.T) {
	t.Parallel()
	w, log := newWorld(), &book{}
	w.keys.Audit, w.keys.Actor = log, "ann"
	ctx := t.Context()
	_, k := mustCreate(t, w.keys, reader)
	if _, _, err := w.keys.Rotate(ctx, k.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.keys.Revoke(ctx, k.ID); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range log.events {
		if e.Caller != k.ID || e.Actor != "ann" {
			t.Errorf("event %+v does not name key and actor", e)
		}
		got = append(got, e.Action+":"+e.Result)
	}
	want := []string{
		auth.ActionCreate + ":", auth.ActionCreate + ":ok", auth.ActionRotate + ":", auth.ActionRotate + ":ok",
		auth.ActionRevoke + ":", auth.ActionRevoke + ":ok",
	}
	if len(got) != len(want) {
		t.Fatalf("events = %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("events = %v, want %v", got, want)
		}
	}
	log.fail = errors.New("disk full")
	if _, _, err := w.keys.Create(ctx, reader); !errors.Is(err, log.fail) {
		t.Errorf("Create = %v, want the log's error", err)
	}
	if all, err := w.keys.List(ctx); err != nil || len(all) != 1 {
		t.Errorf("List = %d keys, %v: one was made without a record", len(all), err)
	}
}

// TestAKeyWhoseSaveGotNoAnswer creates and rotates a key while the answers of the
// store are lost: the secret is shown only now, so it must not be thrown away.
func TestAKeyWhoseSaveGotNoAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.st.lost = errors.New("the answer was lost")
	secret, k := mustCreate(t, w.keys, reader)
	if got, err := w.keys.Check(t.Context(), secret); err != nil || got.ID != k.ID {
		t.Errorf("Check = %s, %v, want %s", got.ID, err, k.ID)
	}
	if secret, _, err := w.keys.Rotate(t.Context(), k.ID, 0); err != nil {
		t.Errorf("Rotate = %v", err)
	} else if got, err := w.keys.Check(t.Context(), secret); err != nil || got.ID != k.ID {
		t.Errorf("Check after Rotate = %s, %v, want %s", got.ID, err, k.ID)
	}
}

func TestLastUsed(t *testing.T) {
	t.Parallel()
	w := newWorld()
	secret, k := mustCreate(t, w.keys, reader)
	if at, err := w.keys.LastUsed(t.Context(), k.ID); err != nil || !at.IsZero() {
		t.Errorf("LastUsed of a fresh key = %s, %v", at, err)
	}
	for _, step := range []struct {
		after time.Duration
		want  time.Time
	}{{0, t0}, {5 * time.Minute, t0}, {10 * time.Minute, t0.Add(15 * time.Minute)}} {
		w.clk.advance(step.after)
		if _, err := w.keys.Check(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		if at, err := w.keys.LastUsed(t.Context(), k.ID); err != nil || !at.Equal(step.want) {
			t.Errorf("LastUsed = %s, %v, want %s", at, err, step.want)
		}
	}
	w.st.values["apikey-used/"+k.ID] = []byte("yesterday")
	if _, err := w.keys.LastUsed(t.Context(), k.ID); err == nil {
		t.Error("LastUsed of a corrupt value = nil")
	}
	w.st.fail = errors.New("locked")
	if _, err := w.keys.LastUsed(t.Context(), k.ID); !errors.Is(err, w.st.fail) {
		t.Errorf("LastUsed = %v, want the store's error", err)
	}
}
