package page_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

func build(now time.Time, entries ...rotate.Entry) page.Status {
	var all []*rotate.Entry
	for i := range entries {
		all = append(all, &entries[i])
	}
	return page.Build(page.Facts{Entries: all, Policy: func(string) plan.Policy { return plan.Policy{} }}, now)
}

func TestHowUsersAre(t *testing.T) {
	t.Parallel()
	with := func(f func(*plan.Record)) rotate.Entry {
		e := entry("u")
		f(&e.Record)
		return e
	}
	tests := []struct {
		name     string
		entry    rotate.Entry
		now      time.Time
		level    page.Level
		state    string
		headline string
	}{
		{"all is well", entry("u"), t0, page.Good, "on time", "All keys rotate on time"},
		{"the successor is late", entry("u"), t0.Add(time.Hour), page.Bad, "overdue", "1 user overdue"},
		{"paused by somebody", with(func(r *plan.Record) { r.Pause = &plan.Pause{Since: t0} }), t0.Add(time.Hour), page.Warn, "paused", "1 user paused"},
		{"a foreign key stands in the way", with(func(r *plan.Record) { r.Waiting = plan.ForeignKey }), t0, page.Bad, "held", "1 user held"},
		{"the last attempt failed", with(func(r *plan.Record) { r.Error = "throttled" }), t0, page.Warn, "retrying", "1 user to keep an eye on"},
		{"waiting for IAM's list", with(func(r *plan.Record) { r.Waiting = plan.LostCreate }), t0, page.Warn, "waiting", "1 user to keep an eye on"},
		{"just enrolled", rotate.Entry{Record: plan.Record{User: "u", Enrolled: t0}}, t0, page.Warn, "starting", "1 user to keep an eye on"},
		{"a leaked key that nobody made inactive yet", with(func(r *plan.Record) {
			*r, _ = r.Ordered(plan.Order{Kind: plan.Burn, KeyID: r.Keys[0].ID, At: t0})
		}), t0, page.Bad, "burning", "1 user with a leaked key that may still work"},
		{"a leaked key, and something else was ordered since", with(func(r *plan.Record) {
			*r, _ = r.Ordered(plan.Order{Kind: plan.Burn, KeyID: r.Keys[0].ID, At: t0})
			*r, _ = r.Ordered(plan.Order{Kind: plan.Force, At: t0})
		}), t0, page.Bad, "burning", "1 user with a leaked key that may still work"},
		{"a rotation that was ordered", with(func(r *plan.Record) { *r, _ = r.Ordered(plan.Order{Kind: plan.Force, At: t0}) }), t0, page.Warn, "ordered", "1 user to keep an eye on"},
		{"due, and nobody has looked for more than a minute", rotate.Entry{Record: entry("u").Record, Due: t0}, t0.Add(76 * time.Second), page.Warn, "late", "1 user late"},
		{"due, and about to be looked at", rotate.Entry{Record: entry("u").Record, Due: t0}, t0.Add(time.Minute), page.Good, "on time", "All keys rotate on time"},
		{"being let go", with(func(r *plan.Record) { r.Released = t0 }), t0.Add(time.Hour), page.Good, "on time", "All keys rotate on time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := build(tt.now, tt.entry)
			u := s.Users[0]
			if u.Level != tt.level || u.State != tt.state || s.Headline != tt.headline || s.Level != tt.level {
				t.Errorf("Build = %s %q, %s %q, want %s %q, %q", u.Level, u.State, s.Level, s.Headline, tt.level, tt.state, tt.headline)
			}
			if (u.Level == page.Bad) != (u.Why != "" && u.Level == page.Bad) {
				t.Errorf("%s user has no words", u.State)
			}
		})
	}
	if s := build(t0); s.Level != page.Warn || s.Headline != "No user is managed yet" {
		t.Errorf("Build of nobody = %s %q", s.Level, s.Headline)
	}
}

func TestWorstComesFirst(t *testing.T) {
	t.Parallel()
	held, paused := entry("m"), entry("b")
	held.Record.Waiting = plan.NoRoom
	paused.Record.Pause = &plan.Pause{Since: t0}
	var names []string
	for _, u := range build(t0, entry("a"), paused, held).Users {
		names = append(names, u.Name)
	}
	if diff := cmp.Diff([]string{"m", "b", "a"}, names); diff != "" {
		t.Errorf("order of users (-want +got):\n%s", diff)
	}
}

// TestPlannedTimes holds what the page promises against what the planner says
// of the default schedule.
func TestPlannedTimes(t *testing.T) {
	t.Parallel()
	e := entry("u")
	p := plan.Policy{}.WithDefaults()
	made := e.Record.Keys[0].Slot
	keys := build(t0, e).Users[0].Keys
	if len(keys) != 2 {
		t.Fatalf("keys = %+v, want the current and the next", keys)
	}
	next := p.NextSlot(made)
	off := e.Record.Keys[0].Promise.Add(p.Grace)
	planned := func(at time.Time) page.Moment { return page.Moment{At: at, Planned: true} }
	got := []page.Moment{keys[0].Superseded, keys[0].Deactivated, keys[0].Deleted, keys[1].Created, keys[1].Promoted}
	want := []page.Moment{planned(next.Add(p.Settle)), planned(off), planned(off.Add(3 * time.Minute)), planned(next), planned(next.Add(p.Settle))}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
	e.Record.Pause = &plan.Pause{Since: t0}
	paused := build(t0, e).Users[0]
	if len(paused.Keys) != 1 || !paused.Keys[0].Deactivated.At.IsZero() || paused.Next != (page.Next{}) {
		t.Errorf("a paused user has plans: %+v", paused)
	}
}

func TestPhasesFollowOneAnother(t *testing.T) {
	t.Parallel()
	at := func(min int) page.Moment { return page.Moment{At: t0.Add(time.Duration(min) * time.Minute)} }
	tests := []struct {
		name string
		key  page.Key
		want []string
	}{
		{"a whole life", page.Key{Created: at(0), Promoted: at(1), Superseded: at(10), Deactivated: at(12), Deleted: at(15)}, []string{"pending", "current", "previous", "inactive"}},
		{"given up", page.Key{Created: at(0), Deleted: at(2)}, []string{"pending"}},
		{"burned", page.Key{Created: at(0), Promoted: at(1), Deactivated: at(5), Deleted: at(9)}, []string{"pending", "current", "inactive"}},
		{"no end in sight", page.Key{Created: at(0), Promoted: at(1)}, []string{"pending", "current"}},
	}
	for _, tt := range tests {
		var got []string
		end := tt.key.Created.At
		for _, p := range tt.key.Phases() {
			if !p.From.At.Equal(end) {
				t.Errorf("%s: %s begins at %s, want %s", tt.name, p.Name, p.From.At, end)
			}
			got, end = append(got, p.Name), p.To.At
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: phases = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func everybody(string) bool { return true }

// frames makes the lines of an audit log.
func frames(events ...rotate.Event) []byte {
	var buf []byte
	var tail audit.Tail
	for _, e := range events {
		buf, tail = audit.Frame(buf, tail, encode(e))
	}
	return buf
}

func TestHistoryFollowsTheLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	h := &page.History{Path: path}
	if err := h.Refresh(); err != nil {
		t.Fatalf("Refresh without a log = %v, want nil", err)
	}
	event := func(min int, action, key, result string) rotate.Event {
		return rotate.Event{Time: t0.Add(time.Duration(min) * time.Minute), Action: action, User: "ci", Key: key, Result: result, Actor: "host/1"}
	}
	// The ids differ where their short forms do not.
	a, b := "AKIAAAAAAAAAAAAAAA11", "AKIABBBBBBBBBBBBBB11"
	all := frames(
		event(0, "create", a, "ok"), event(0, "verify", a, "refused"), event(0, "verify", a, "ok"), event(0, "promote", a, "ok"), event(10, "create", "", ""), event(10, "create", b, "ok"),
		event(10, "promote", b, "ok"), rotate.Event{Time: t0.Add(11 * time.Minute), Action: "handout", User: "ci", Key: b, Caller: "c1", Result: "ok"},
		event(12, "deactivate", a, "throttled"), event(12, "deactivate", a, "ok"), event(15, "delete", a, "ok"), event(16, "pause", "", ""),
	)
	cut := len(all) - 40 // in the midst of the last line
	for _, upTo := range []int{cut / 2, cut, len(all)} {
		if err := os.WriteFile(path, all[:upTo], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := h.Refresh(); err != nil {
			t.Fatal(err)
		}
	}
	var texts []string
	for _, e := range h.Events(true, everybody) {
		texts = append(texts, e.Text)
	}
	want := []string{
		"Rotation was paused", "The old key was deleted", "The old key was switched off", "Switching the old key off failed: throttled",
		"The new key took over", "A new key was made", "The new key took over", "A new key was made",
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	var grave []string
	for _, e := range h.Events(false, everybody) {
		grave = append(grave, e.Text)
	}
	if diff := cmp.Diff([]string{"Rotation was paused", "Switching the old key off failed: throttled"}, grave); diff != "" {
		t.Errorf("events that are not routine (-want +got):\n%s", diff)
	}
	past := h.Past("ci")
	if got := h.Seen()["c1"]; !got.Equal(t0.Add(11 * time.Minute)) {
		t.Errorf("c1 came last at %s, want 12:11", got)
	}
	if len(past) != 1 || !past[0].Superseded.At.Equal(t0.Add(10*time.Minute)) || !past[0].Deleted.At.Equal(t0.Add(15*time.Minute)) {
		t.Errorf("past = %+v, want the life of the first key", past)
	}
	// A new log in its place is read from its beginning.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, frames(event(20, "resume", "", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Refresh(); err != nil {
		t.Fatal(err)
	}
	if events := h.Events(true, everybody); events[0].Text != "Rotation was resumed" {
		t.Errorf("newest event = %q, want that of the new log", events[0].Text)
	}
}

func TestHistoryOfALogElsewhere(t *testing.T) {
	t.Parallel()
	h := &page.History{}
	log := h.Tee(nowhere{})
	for _, e := range []rotate.Event{{Time: t0, Action: "pause", User: "ci"}, {Time: t0, Action: "handout", Caller: "c1", Result: "ok"}} {
		if err := log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	events, seen := h.Events(true, everybody), h.Seen()
	if len(events) != 1 || !seen["c1"].Equal(t0) {
		t.Errorf("Snapshot = %v, %v, want one event and one caller", events, seen)
	}
}
