package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/store/content"
)

// TestRenewalsWaitForEachOther: what comes within a second is saved together,
// what fails is kept, and what is newer wins.
func TestRenewalsWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var saved []string
		var fails error
		r := newRenewals(func(_ context.Context, rows [][]any) error {
			mu.Lock()
			defer mu.Unlock()
			if fails != nil {
				return fails
			}
			for _, row := range rows {
				saved = append(saved, fmt.Sprint(row...))
			}
			slices.Sort(saved)
			return nil
		})
		defer r.close()
		want := func(when string, want ...string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(saved, want) {
				t.Errorf("%s %q is saved, want %q", when, saved, want)
			}
		}
		add := func(user, at string) {
			t.Helper()
			if !r.add(t.Context(), held{user: user}, []any{user, at}) {
				t.Errorf("no room for %s", user)
			}
		}
		add("ann", "1")
		add("bob", "1")
		add("ann", "2")
		want("at once")
		time.Sleep(renewEvery + 1)
		want("after a second", "ann2", "bob1")
		mu.Lock()
		fails = errors.New("no space left on device")
		mu.Unlock()
		add("cat", "3")
		time.Sleep(3*renewEvery + 1) // never at the instant of an attempt
		want("while the disk is full", "ann2", "bob1")
		mu.Lock()
		fails = nil
		mu.Unlock()
		time.Sleep(renewEvery)
		want("afterwards", "ann2", "bob1", "cat3")
		add("dan", "4")
		r.close()
		want("when the store is closed", "ann2", "bob1", "cat3", "dan4")
	})
}

func TestRenewalsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rows := 0
		r := newRenewals(func(_ context.Context, batch [][]any) error {
			if rows += len(batch); len(batch) > renewBatch {
				t.Errorf("%d rows in one transaction, want at most %d", len(batch), renewBatch)
			}
			return nil
		})
		for i := range renewMost {
			if !r.add(t.Context(), held{user: fmt.Sprint(i)}, nil) {
				t.Fatalf("no room for the %dth", i+1)
			}
		}
		if r.add(t.Context(), held{user: "more"}, nil) {
			t.Errorf("%d rows wait, want at most %d", renewMost+1, renewMost)
		}
		r.close()
		if rows != renewMost {
			t.Errorf("%d rows were saved, want %d", rows, renewMost)
		}
	})
}

// TestOnlyRenewalsWait: a change is in the file when RecordHandout returns, for
// whoever else reads it.
func TestOnlyRenewalsWait(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyrot.db")
	s, other := openShared(t, path), openShared(t, path)
	for _, tt := range []struct {
		name, key, addr string
		at, want        time.Duration
	}{
		{"a first hand-out is saved at once", "K1", "a", 0, 0},
		{"a renewal waits", "K1", "a", content.RepeatAfter, 0},
		{"another address is saved at once", "K1", "b", content.RepeatAfter + 1, content.RepeatAfter + 1},
		{"another key is saved at once", "K2", "b", 3 * content.RepeatAfter, 3 * content.RepeatAfter},
		{"the key before is saved at once", "K1", "b", 5 * content.RepeatAfter, 5 * content.RepeatAfter},
	} {
		s.renewals.turn <- struct{}{} // for this test a second lasts longer
		if err := s.RecordHandout(t.Context(), "ci", "ann", tt.key, tt.addr, now.Add(tt.at)); err != nil {
			t.Fatal(err)
		}
		h, err := other.WhoHas(t.Context(), tt.key)
		if err != nil || len(h) != 1 || h[0].Last.Sub(now) != tt.want {
			t.Errorf("%s: WhoHas(%s) = %+v, %v, want %s after the first hand-out", tt.name, tt.key, h, err, tt.want)
		}
		<-s.renewals.turn
	}
}

// TestRenewalsAreSpread: hand-outs to many users that began together are not
// renewed together for ever.
func TestRenewalsAreSpread(t *testing.T) {
	t.Parallel()
	const users, slots = 5000, 10
	var count [slots]int
	for i := range users {
		d := early(fmt.Sprintf("user-%05d", i))
		if d < 0 || d >= content.RepeatAfter/2 {
			t.Fatalf("early = %s, want less than %s", d, content.RepeatAfter/2)
		}
		count[d*slots/(content.RepeatAfter/2)]++
	}
	if most := slices.Max(count[:]); most > users/slots*3/2 {
		t.Errorf("%d of %d users are renewed within half a second", most, users)
	}
}
