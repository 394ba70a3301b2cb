//go:build e2e && linux

package e2e

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/audit"
)

// The seed that a run prints is enough to have its faults again.
func TestScript(t *testing.T) {
	a, b, other := Script(5, time.Hour, 2, nil), Script(5, time.Hour, 2, nil), Script(6, time.Hour, 2, nil)
	same := func(a, b []Episode) bool {
		return slices.EqualFunc(a, b, func(x, y Episode) bool { return x.String() == y.String() })
	}
	if !same(a, b) || same(a, other) {
		t.Errorf("the same seed draws the same script: %v, another seed another one: %v", same(a, b), !same(a, other))
	}
	kinds := map[string]int{}
	for _, e := range Script(5, time.Hour, 2, []string{full, stale}) {
		kinds[e.Kind]++
		if slices.Contains(e.Kinds, stale) {
			kinds[stale]++
		}
	}
	if kinds[full]+kinds[stale] > 0 || kinds[kill] == 0 || kinds[mixed] == 0 {
		t.Errorf("without the full disk and stale lists there is %v", kinds)
	}
}

// judge says what was wrong.
func (p *troupe) judge() {
	t := p.t
	calls, keys := 0, p.seenByConsumers()
	for _, c := range p.consumers {
		calls += c.Calls
		for i, r := range c.Refused {
			if i < 3 {
				t.Errorf("refused: %s", r)
			}
		}
		if len(c.Refused) > 3 {
			t.Errorf("and %d more of %s", len(c.Refused)-3, c.User)
		}
		t.Logf("%s (lazy: %v): %d calls with %d keys, %d refused, without a key for %s, %v %v",
			c.User, c.Lazy, c.Calls, len(c.Seen), len(c.Refused), c.Starved.Round(time.Second), c.Denied, c.Trouble)
	}
	passed, hits := p.weather.Hits()
	t.Logf("%d calls by consumers, with %d keys; %d calls of keyrot's, of which %v", calls, len(keys), passed, hits)
	for _, d := range p.daemons {
		t.Logf("daemon on %s: started %d times, ended by itself: %v", d.Addr, d.starts, d.ended)
	}
	if out, err := p.Run(t.Context(), "audit", "verify"); err != nil {
		t.Errorf("the audit log: %v\n%s", err, out)
	}
	if !p.table {
		p.recorded()
	}
	if t.Failed() {
		for _, d := range p.daemons {
			raw, _ := os.ReadFile(d.Log)
			t.Logf("%s ends:\n%s", d.Log, raw[max(0, len(raw)-4000):])
		}
	}
}

// seenByConsumers returns the keys that consumers have got so far.
func (p *troupe) seenByConsumers() map[string]bool {
	keys := map[string]bool{}
	for _, c := range p.consumers {
		c.mu.Lock()
		maps.Copy(keys, c.Seen)
		c.mu.Unlock()
	}
	return keys
}

// recorded checks that every key that a consumer has got is on record, and no
// secret is.
func (p *troupe) recorded() {
	t := p.t
	raw, err := os.ReadFile(filepath.Join(p.Dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	given, actions := map[string]bool{}, map[string]int{}
	for l, err := range audit.Lines(bytes.NewReader(raw)) {
		if err != nil {
			t.Fatal(err)
		}
		if actions[l.Action]++; l.Action == "handout" {
			given[l.Key] = true
		}
	}
	t.Logf("on record: %v", actions)
	missing := map[string]bool{}
	for _, c := range p.consumers {
		for id := range c.Seen {
			if !given[id] {
				missing[id] = true
			}
		}
		for _, d := range p.daemons {
			log, _ := os.ReadFile(d.Log)
			for secret := range c.Secrets {
				if bytes.Contains(raw, []byte(secret)) || bytes.Contains(log, []byte(secret)) {
					t.Errorf("a secret of %s is in a log", c.User)
				}
			}
		}
	}
	// A daemon that is killed while the disk fails takes what it kept with it.
	if len(missing) > 0 {
		t.Logf("not on record, as the daemon's own log may say: %v", slices.Collect(maps.Keys(missing)))
	}
}

// control shows that the judge sees a refusal: a consumer that goes on with a
// key long after its Expiration.
func (p *troupe) control(pair Pair) {
	t := p.t
	if err := p.Serve(t.Context(), slowSchedule...); err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	late := &Consumer{User: pair.UserName, Now: func() time.Time { return pair.Expiration.Add(-time.Hour) }, Use: p.call, Trouble: map[string]int{}}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Second) {
		if late.use(t.Context(), pair); len(late.Refused) > 0 {
			return
		}
	}
	t.Errorf("negative control: a key still works %s after its Expiration", patience)
}
