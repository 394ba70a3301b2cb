package rotatetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// testChanges follows a store by its changes, as [rotate.Roster] does, and
// compares what that has led to with what List says.
func testChanges(t *testing.T, s rotate.Store) {
	known, mark := map[string]rotate.Entry{}, int64(0)
	follow := func(when string, changed ...string) {
		t.Helper()
		c, err := s.Changes(t.Context(), mark)
		if err != nil {
			t.Fatalf("Changes %s: %v", when, err)
		}
		if c.Whole {
			clear(known)
		}
		var got []string
		for _, e := range c.Entries {
			if len(e.Secrets) != 0 {
				t.Errorf("Changes %s: %q has secrets", when, e.Record.User)
			}
			got = append(got, e.Record.User)
			known[e.Record.User] = e
		}
		slices.Sort(got)
		if !c.Whole && !slices.Equal(got, changed) {
			t.Errorf("Changes %s = %q, want %q", when, got, changed)
		}
		mark = c.Mark
		all, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen := make([]rotate.Entry, 0, len(known))
		for _, e := range known {
			seen = append(seen, e)
		}
		slices.SortFunc(seen, func(a, b rotate.Entry) int { return strings.Compare(a.Record.User, b.Record.User) })
		if d := diff(all, seen); d != "" {
			t.Errorf("%s, what the changes say differs from List (-List +Changes):\n%s", when, d)
		}
	}
	follow("of an empty store")
	ann, bob := mustSave(t, s, entry("ann")), mustSave(t, s, entry("bob"))
	follow("after two users were saved", "ann", "bob")
	follow("when nothing was saved")
	bob.Record.Error = "throttled"
	bob = mustSave(t, s, bob)
	follow("after one user was saved", "bob")
	if err := s.Remove(t.Context(), "ann", ann.Version); err != nil {
		t.Fatal(err)
	}
	follow("after a user was removed")
	bob = mustSave(t, s, bob)
	mustSave(t, s, entry("ann"))
	follow("after a removed user came back", "ann", "bob")
	if err := s.Remove(t.Context(), "bob", bob.Version); err != nil {
		t.Fatal(err)
	}
	mark = 0
	follow("from the beginning, of a store that has lost its latest user", "ann")
}
