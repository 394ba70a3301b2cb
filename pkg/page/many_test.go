package page_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// mostBytes is what no answer may be larger than.
const mostBytes = 200_000

// crowded is a world of 200 users more, of whom ten are named etl and one of
// each hundred is paused.
func crowded(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for i := range 198 {
		e := entry(fmt.Sprintf("srv-%03d", i))
		if i%20 == 3 {
			e = entry(fmt.Sprintf("ETL-%03d", i))
		}
		if i%100 == 50 {
			e.Record.Pause = &plan.Pause{Since: t0, By: "ann"}
		}
		w.add(t, e)
	}
	return w
}

var shown = regexp.MustCompile(`<span id="shown"[^>]*>([^<]*)</span>`)

func TestManyUsersAreALineEach(t *testing.T) {
	t.Parallel()
	w := crowded(t)
	c := w.login(t, w.viewer)
	tests := []struct {
		name         string
		query        string
		shown        string
		lines, cards int
	}{
		{"the first fifty", "", "1–50 of 200", 50, 0},
		{"the last fifty", "page=4", "151–200 of 200", 50, 0},
		{"behind the last page", "page=9", "151–200 of 200", 50, 0},
		{"no number of a page", "page=-x", "1–50 of 200", 50, 0},
		{"a name, in small letters", "q=etl", "10 of 200", 10, 0},
		{"a name that many have", "q=srv&page=2", "51–100 of 188 found, 200 in all", 50, 0},
		{"a state: so few are cards", "state=paused", "2 of 200", 0, 2},
		{"a state and a name", "state=on-time&q=ci", "1 of 200", 0, 1},
		{"no state", "state=%3Cb%3E", "1–50 of 200", 50, 0},
		{"nobody", "q=zzz", "0 of 200", 0, 0},
		{"a card on this page", "user=ci", "1–50 of 200", 49, 1},
		{"a card that is on another page is shown first", "user=srv-199&user=srv-190", "1–50 of 200", 50, 1},
		{"more cards than are shown", "user=ci&user=app-1&user=srv-001&user=srv-002&user=srv-004", "1–50 of 200", 46, 4},
		{"a card of nobody", "user=zzz", "1–50 of 200", 50, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body := w.get(t, "/?"+tt.query, c).Body.String()
			lines, cards := strings.Count(body, `class="line `), strings.Count(body, `<article class="card`)
			if got := shown.FindStringSubmatch(body); got == nil || got[1] != tt.shown || lines != tt.lines || cards != tt.cards {
				t.Errorf("GET /?%s shows %q, %d lines and %d cards, want %q, %d and %d", tt.query, got, lines, cards, tt.shown, tt.lines, tt.cards)
			}
			if len(body) > mostBytes {
				t.Errorf("GET /?%s answers %d bytes, want at most %d", tt.query, len(body), mostBytes)
			}
		})
	}
}

// TestLinksKeepWhatIsShown: wherever a link leads, the search and the state
// stay, and what it leads to is what it says.
func TestLinksKeepWhatIsShown(t *testing.T) {
	t.Parallel()
	w := crowded(t)
	body := w.get(t, "/?q=srv&state=on-time&page=2&user=srv-070", w.login(t, w.viewer)).Body.String()
	links := map[string]string{}
	for _, m := range regexp.MustCompile(`<a id="([^"]*)"[^>]* href="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		links[m[1]], _, _ = strings.Cut(html.UnescapeString(m[2]), "#")
	}
	want := map[string]string{
		"pager-back": "/?q=srv&state=on-time", "pager-on": "/?page=3&q=srv&state=on-time", "clear-a": "/",
		"state-": "/?q=srv", "state-paused": "/?q=srv&state=paused", "state-on-time": "/?q=srv&state=on-time",
	}
	for id, to := range want {
		if links[id] != to {
			t.Errorf("the link %s leads to %q, want %q", id, links[id], to)
		}
	}
	opens, closes := 0, 0
	for id, to := range links {
		if strings.HasPrefix(id, "u-") {
			switch {
			case strings.HasPrefix(to, "/?page=2&q=srv&state=on-time&user=srv-070&user="):
				opens++
			case to == "/?page=2&q=srv&state=on-time":
				closes++
			}
		}
	}
	if opens != 49 || closes != 1 {
		t.Errorf("%d links open a card and %d close one, want 49 and 1", opens, closes)
	}
	if !strings.Contains(body, `<input type="hidden" name="state" value="on-time">`) {
		t.Error("a search would leave the state")
	}
}

// TestTheLargestAnswer: names as long as IAM allows, failures as long as are
// kept, as many cards as are open at once.
func TestTheLargestAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := url.Values{}
	for i := range 60 {
		name := fmt.Sprintf("%064d", i)
		e := entry(name)
		e.Record.Error, e.Record.Waiting = strings.Repeat("<&", 2000), plan.ForeignKey
		w.add(t, e)
		q.Add("user", name)
	}
	for _, path := range []string{"/?", "/status.json?"} {
		rec := w.get(t, path+q.Encode(), w.login(t, w.viewer))
		if n := rec.Body.Len(); rec.Code != http.StatusOK || n > mostBytes {
			t.Errorf("GET %s = %d, %d bytes, want at most %d", path, rec.Code, n, mostBytes)
		}
	}
}

func TestStatusIsPaged(t *testing.T) {
	t.Parallel()
	w := crowded(t)
	c := w.login(t, w.viewer)
	var names []string
	for i := 1; i <= 4; i++ {
		var a page.Answer
		if err := json.Unmarshal(w.get(t, fmt.Sprintf("/status.json?page=%d", i), c).Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if a.Page != i || a.Pages != 4 || a.Matched != 200 || a.Total != 200 || a.Paused != 2 {
			t.Errorf("page %d = %d of %d, %d of %d users, %d paused, want %d of 4, 200 of 200, 2", i, a.Page, a.Pages, a.Matched, a.Total, a.Paused, i)
		}
		for _, u := range a.Users {
			names = append(names, u.Name)
		}
	}
	if slices.Sort(names); len(slices.Compact(names)) != 200 {
		t.Errorf("the pages have %d users, want each of 200 once", len(slices.Compact(names)))
	}
	if rec := w.get(t, "/status.json?state=sleepy", c); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "on-time") {
		t.Errorf("a state that there is not = %d %q, want 400 and those that there are", rec.Code, rec.Body)
	}
}

func TestAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	w := crowded(t)
	c := w.login(t, w.viewer)
	for _, path := range []string{"/", "/status.json", "/assets/app.js", "/assets/app.css"} {
		plain := w.get(t, path, c).Body.String()
		for accepts, want := range map[string]string{"gzip, deflate, br": "gzip", "br;q=1.0, gzip;q=0.8": "gzip", "gzip;q=0": "", "br": "", "": ""} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			r.Header.Set("Accept-Encoding", accepts)
			r.AddCookie(c)
			rec := w.do(r)
			body := rec.Body.String()
			if got := rec.Header().Get("Content-Encoding"); got != want || rec.Header().Get("Vary") != "Accept-Encoding" {
				t.Errorf("GET %s for %q is encoded by %q and varies by %q, want %q and Accept-Encoding", path, accepts, got, rec.Header().Get("Vary"), want)
			}
			if want == "gzip" {
				if len(body) > len(plain)/2 {
					t.Errorf("GET %s compressed = %d bytes of %d, want a half at most", path, len(body), len(plain))
				}
				z, err := gzip.NewReader(strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				raw, err := io.ReadAll(z)
				if err != nil {
					t.Fatal(err)
				}
				body = string(raw)
			}
			if body != plain {
				t.Errorf("GET %s for %q is not the same", path, accepts)
			}
		}
	}
}

// TestOneLookForAllWhoLook: the store is asked once a second what has changed,
// however many look and whatever they look for; no entry is opened.
func TestOneLookForAllWhoLook(t *testing.T) {
	t.Parallel()
	w := crowded(t)
	var looks, others atomic.Int32
	w.store.Before = func(op, _ string) error {
		switch op {
		case rotatetest.OpChanges:
			looks.Add(1)
		case rotatetest.OpLoad, rotatetest.OpList:
			others.Add(1)
		}
		return nil
	}
	c, narrow := w.login(t, w.viewer), w.login(t, w.narrow)
	for i := range 20 {
		w.get(t, fmt.Sprintf("/?page=%d", i%5), c)
		w.get(t, "/status.json?q=app", narrow)
		w.get(t, "/?user=ci&state=on-time", c)
	}
	if looks.Load() != 1 || others.Load() != 0 {
		t.Errorf("60 requests asked %d times what has changed and %d times for more, want once and never", looks.Load(), others.Load())
	}
	w.move(10 * time.Second)
	w.get(t, "/", c)
	if looks.Load() != 2 {
		t.Errorf("10 s later the store was asked %d times, want twice", looks.Load())
	}
}

var stream = regexp.MustCompile(`data-stream="([^"]*)"`)

// TestOnlyWhatChangesIsSent: a page that was just loaded is told nothing until
// something changes, and then that; time passing is no change.
func TestOnlyWhatChangesIsSent(t *testing.T) {
	t.Parallel()
	w := crowded(t)
	srv := httptest.NewServer(w.h)
	t.Cleanup(srv.Close)
	c := w.login(t, w.viewer)
	path := html.UnescapeString(stream.FindStringSubmatch(w.get(t, "/?user=ci&page=2", c).Body.String())[1])
	next, _ := listenAt(t, t.Context(), srv, c, path)
	tell := func() (change struct {
		Parts, Items map[string]string
		Orders       map[string][]string
	}, event string,
	) {
		event, data := next()
		if err := json.Unmarshal([]byte(data), &change); err != nil {
			t.Fatal(err)
		}
		return change, event
	}
	w.move(20 * time.Second)
	if change, event := tell(); event != "beat" || len(change.Parts)+len(change.Items)+len(change.Orders) > 0 {
		t.Errorf("after 20 s of nothing: %s of %d parts, %d items, %d orders, want a beat", event, len(change.Parts), len(change.Items), len(change.Orders))
	}
	e, err := w.store.Load(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	e.Record.Keys[0].Promise = t0.Add(13 * time.Minute) // it is switched off later
	w.add(t, e)
	w.move(10 * time.Second)
	change, event := tell()
	if event != "change" || len(change.Items) != 1 || len(change.Orders) != 0 || len(change.Parts) > 0 || !strings.Contains(fmt.Sprint(change.Items), `data-user="ci"`) {
		t.Errorf("after a change of ci: %s of parts %d, items %d, orders %d, want its card only", event, len(change.Parts), len(change.Items), len(change.Orders))
	}
}

// TestPlansThatAreLateMoveInSteps: what should have happened is planned for a
// moment to come, and not for another one each second.
func TestPlansThatAreLateMoveInSteps(t *testing.T) {
	t.Parallel()
	plans := map[time.Time]bool{}
	for s := range 60 {
		now := t0.Add(time.Hour + time.Duration(s)*time.Second)
		u := build(now, entry("u")).Users[0]
		if !u.Next.At.After(now) {
			t.Errorf("at %s the next change is planned for %s, want later", now, u.Next.At)
		}
		plans[u.Next.At] = true
	}
	if len(plans) > 4 {
		t.Errorf("within a minute a late change is planned for %d instants, want 3 or 4", len(plans))
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	var users []page.User
	for i := range 120 {
		users = append(users, page.User{Name: fmt.Sprintf("User-%03d", i), Group: page.Groups[i%len(page.Groups)]})
	}
	f := page.Query{Text: "user-0", Group: page.Late, Page: 1}.Find(users)
	if f.Matched != 17 || f.Pages != 1 || f.All != 100 || f.In[page.Late] != 17 || f.Users[0].Name != "User-001" {
		t.Errorf("Find = %d of %d, %d pages, from %s, want 17 of 100, 1, from User-001", f.Matched, f.All, f.Pages, f.Users[0].Name)
	}
	f = page.Query{Page: 3}.Find(users)
	if diff := cmp.Diff(users[100:], f.Users, cmp.Comparer(func(a, b page.User) bool { return a.Name == b.Name })); diff != "" || f.Pages != 3 {
		t.Errorf("page 3 of %d (-want +got):\n%s", f.Pages, diff)
	}
	if f := (page.Query{Page: 7}).Find(nil); f.Page != 1 || f.Pages != 1 || len(f.Users) != 0 {
		t.Errorf("Find among nobody = page %d of %d, want 1 of 1", f.Page, f.Pages)
	}
}
