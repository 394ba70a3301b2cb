package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// statusEntries are some users of whom not all are well, and n more.
func statusEntries(n int) []rotate.Entry {
	at := func(user string, edit func(*rotate.Entry)) rotate.Entry {
		e := screenEntry(user)
		e.Due = screenTime.Add(8 * time.Minute)
		if edit != nil {
			edit(&e)
		}
		return e
	}
	out := []rotate.Entry{
		at("ann", nil),
		at("bob", func(e *rotate.Entry) {
			e.Record.Slot, e.Record.Keys[0].Slot = screenTime.Add(-30*time.Minute), screenTime.Add(-30*time.Minute)
			e.Record.Error = "creating an access key: Throttling"
		}),
		at("ci", func(e *rotate.Entry) {
			e.Record.Pause = &plan.Pause{Since: screenTime.Add(-time.Hour), By: "ann", Reason: "load test"}
		}),
		at("dan", func(e *rotate.Entry) { e.Due = screenTime.Add(-2 * time.Minute) }),
	}
	for i := range n {
		out = append(out, at(fmt.Sprintf("user-%04d", i), nil))
	}
	return out
}

func list(t *testing.T, o statusOptions, limited bool, entries []rotate.Entry) listing {
	t.Helper()
	return listAt(t, screenTime, o, limited, entries)
}

func listAt(t *testing.T, now time.Time, o statusOptions, limited bool, entries []rotate.Entry) listing {
	t.Helper()
	e, _, _ := testEnv(t, nil)
	cfg, err := e.loadValid(common{File: os.DevNull})
	if err != nil {
		t.Fatal(err)
	}
	l := listing{o: o, cfg: cfg, now: now, limited: limited}
	if err := l.read(entries); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestStatusListsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	asJSON := common{Output: "json"}
	tests := []struct {
		name    string
		o       statusOptions
		limited bool
		users   int
		first   string
		note    string
	}{
		{"all, those that need somebody first", statusOptions{}, false, 204, "bob", ""},
		{"on a terminal, a page", statusOptions{}, true, 50, "bob", "50 of 204 users; --page, --state and --search show others"},
		{"the last page", statusOptions{Query: page.Query{Page: 5}, paging: true}, true, 4, "user-0196", "4 of 204 users; --page, --state and --search show others"},
		{"late ones: overdue, and due without anybody looking", statusOptions{Query: page.Query{Group: page.Late}}, false, 2, "bob", "2 of 204 users"},
		{"paused ones", statusOptions{Query: page.Query{Group: page.Paused}}, true, 1, "ci", "1 of 204 users"},
		{"nobody", statusOptions{Query: page.Query{Group: page.Leaked}}, false, 0, "", "none of 204 users"},
		{"a part of the name", statusOptions{Query: page.Query{Text: "USER-000"}}, false, 10, "user-0000", "10 of 204 users"},
		{"users by name, a few of many", statusOptions{Users: []string{"dan", "ann"}}, true, 2, "dan", ""},
		{"for programs, all by name, also on a terminal", statusOptions{common: asJSON}, true, 204, "ann", ""},
		{"for programs, a page of them", statusOptions{common: asJSON, Query: page.Query{Page: 1}, paging: true}, false, 50, "ann", "50 of 204 users; --page, --state and --search show others"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := list(t, tt.o, tt.limited, statusEntries(200))
			first := ""
			if len(l.views) > 0 {
				first = l.views[0].User
			}
			if len(l.views) != tt.users || first != tt.first || l.note != tt.note {
				t.Errorf("status lists %d users from %q, and says %q, want %d from %q, and %q", len(l.views), first, l.note, tt.users, tt.first, tt.note)
			}
		})
	}
}

func TestStatusOfUsers(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := list(t, statusOptions{Users: []string{"bob", "ci", "dan"}}, false, statusEntries(3))
	if err := l.details(&out); err != nil {
		t.Fatal(err)
	}
	want := `bob: overdue for 22m30s
  A new key should be in place by now. The old one keeps working and keeps being handed out.
  Last failure: creating an access key: Throttling
  Next: a new key is made in 20s
  KEY      STAGE    AGE  CREATED     PROMOTED    PROMISED UNTIL  DEACTIVATED  DELETED
  AKIA…LE  current  2m   11:58:00    11:58:00    12:10:00        (12:10:05)   (12:13:05)
  next     planned  -    (12:00:20)  (12:00:30)  -               (12:12:20)   (12:15:20)

dan: late for 2m
  The next step was due, and no keyrot has taken it. The key in use keeps working.
  See that a keyrot runs and reaches AWS: "keyrot doctor".
  Next: a new key is made in 7m 22s
  KEY      STAGE    AGE  CREATED     PROMOTED    PROMISED UNTIL  DEACTIVATED  DELETED
  AKIA…LE  current  2m   11:58:00    11:58:00    12:10:00        (12:10:05)   (12:13:05)
  next     planned  -    (12:07:22)  (12:07:32)  -               (12:19:22)   (12:22:22)

ci: paused for 1h
  Paused by ann: load test. Nothing changes in IAM, and the current key keeps being handed out until somebody resumes it.
  KEY      STAGE    AGE  CREATED   PROMOTED  PROMISED UNTIL  DEACTIVATED  DELETED
  AKIA…LE  current  2m   11:58:00  11:58:00  12:10:00        -            -
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("status of users (-want +got):\n%s", diff)
	}
}

// A time of day says nothing of another day's instant, past or planned.
func TestAnInstantOfAnotherDayHasItsDate(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 2, 28, 23, 55, 0, 0, time.UTC)
	tests := []struct {
		name string
		now  time.Time
		want string
	}{
		{"before midnight", made.Add(2 * time.Minute), `ci: on time
  Next: a new key is made in 5m 30s
  KEY      STAGE    AGE  CREATED                PROMOTED               PROMISED UNTIL       DEACTIVATED            DELETED
  AKIA…LE  current  2m   23:55:00               23:55:00               2026-03-01 00:07:00  (2026-03-01 00:07:05)  (2026-03-01 00:10:05)
  next     planned  -    (2026-03-01 00:02:30)  (2026-03-01 00:02:40)  -                    (2026-03-01 00:14:30)  (2026-03-01 00:17:30)
`},
		{"after it, by a clock of another zone", made.Add(6 * time.Minute).In(time.FixedZone("", -5*3600)), `ci: on time
  Next: a new key is made in 1m 30s
  KEY      STAGE    AGE  CREATED              PROMOTED             PROMISED UNTIL  DEACTIVATED  DELETED
  AKIA…LE  current  6m   2026-02-28 23:55:00  2026-02-28 23:55:00  00:07:00        (00:07:05)   (00:10:05)
  next     planned  -    (00:02:30)           (00:02:40)           -               (00:14:30)   (00:17:30)
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			entry := screenEntry("ci")
			entry.Record.Enrolled, entry.Record.Slot, entry.Due = made, made, made.Add(9*time.Minute)
			k := &entry.Record.Keys[0]
			k.Slot, k.Created, k.Made, k.Proven, k.Promoted, k.Promise = made, made, made, made, made, made.Add(12*time.Minute)
			l := listAt(t, tt.now, statusOptions{Users: []string{"ci"}}, false, []rotate.Entry{entry})
			var out bytes.Buffer
			if err := l.details(&out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("status of a user (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatusTable(t *testing.T) {
	t.Parallel()
	l := list(t, statusOptions{}, false, statusEntries(1))
	var got []string
	for _, v := range l.views {
		for _, row := range rowsOf(v, l.now) {
			got = append(got, strings.Join(row, " | "))
		}
	}
	want := []string{
		"bob | AKIA…LE | Current | 2m | overdue for 22m30s, last error: creating an access key: Throttling",
		"dan | AKIA…LE | Current | 2m | late for 2m",
		"ci | AKIA…LE | Current | 2m | paused",
		"ann | AKIA…LE | Current | 2m | ok, next look in 8m",
		"user-0000 | AKIA…LE | Current | 2m | ok, next look in 8m",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

// TestStatusForPrograms: whatever is documented is there, and nobody is missing.
func TestStatusForPrograms(t *testing.T) {
	t.Parallel()
	l := list(t, statusOptions{common: common{Output: "json"}}, true, statusEntries(5000))
	raw, err := json.Marshal(l.views)
	if err != nil {
		t.Fatal(err)
	}
	var users []map[string]any
	if err := json.Unmarshal(raw, &users); err != nil {
		t.Fatal(err)
	}
	if len(users) != 5004 || users[1]["state"] != "late" || users[1]["overdue"] != true || users[2]["state"] != "paused" || users[3]["state"] != "late" {
		t.Errorf("status -o json has %d users, of whom bob is %v, want 5004 and late", len(users), users[1])
	}
	documented, err := os.ReadFile("../../docs/page.md")
	if err != nil {
		t.Fatal(err)
	}
	for field := range users[1] {
		if !strings.Contains(string(documented), "`"+field+"`") {
			t.Errorf("docs/page.md does not explain the field %q", field)
		}
	}
}

func TestStatusRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, args, want string }{
		{"a state that there is not", "status --state sleepy", "the states are leaked, late, held, paused, waiting, on-time"},
		{"a page before the first", "status --page 0", "pages are counted from 1"},
		{"a page of what scrolls", "status --watch --page 2", "--watch scrolls"},
		{"a user that is not managed", "status zz", `user "zz": not managed by keyrot`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, _, errs := testEnv(t, nil)
			if code := Run(t.Context(), e, []string{"api-key", "create", "--init", "--users", "ci"}); code != 0 { // makes the store
				t.Fatalf("api-key create = %d: %s", code, errs)
			}
			if code := Run(t.Context(), e, strings.Fields(tt.args)); code != 2 || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("keyrot %s = %d, %q, want 2 and %q", tt.args, code, errs, tt.want)
			}
		})
	}
}
