package page

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Event is one line of the feed.
type Event struct {
	At    time.Time `json:"at"`
	User  string    `json:"user,omitempty"`
	Text  string    `json:"text"`
	Key   string    `json:"key,omitempty"` // shortened
	By    string    `json:"by,omitempty"`  // for what people ordered
	Level Level     `json:"level"`
}

// Bounds on what is read and remembered.
const (
	maxRead   = 4 << 20 // bytes of the log at one go; what is older is left out
	maxEvents = 60
	maxSteps  = 2000 // events of all kinds
	maxPast   = 6    // lives per user: two at a time, and a timeline shows little more than one rotation
	maxUsers  = 20_000
	maxSeen   = 4096 // callers
)

// History follows the audit log, so that what every process did is seen:
// events, the lives of keys that are gone, and when callers came last. It
// costs nothing while nobody looks. Safe for concurrent use.
type History struct {
	Path string // the log; empty: there is none

	mu     sync.Mutex
	file   os.FileInfo
	offset int64
	steps  []Event // everything, oldest first
	events []Event // what is not routine, oldest first
	past   map[string][]Key
	seen   map[string]time.Time
}

// Refresh reads what the log got since the last time. Lines that are not as
// they should be are passed over: to prove the log is not the page's task.
func (h *History) Refresh() error {
	if h.Path == "" {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f, err := os.Open(h.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	if h.file == nil || !os.SameFile(h.file, info) || info.Size() < h.offset {
		h.offset = 0
		if info.Size() > 0 { // its beginning was cut off: what is left is told again
			h.steps, h.events, h.past = nil, nil, nil
		}
	}
	h.file = info
	skip := info.Size()-h.offset > maxRead
	if skip {
		h.offset = info.Size() - maxRead
	}
	raw, err := io.ReadAll(io.NewSectionReader(f, h.offset, info.Size()-h.offset))
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	end := bytes.LastIndexByte(raw, '\n') + 1 // the rest is being written
	h.offset += int64(end)
	raw = raw[:end]
	if skip {
		raw = raw[bytes.IndexByte(raw, '\n')+1:]
	}
	h.take(raw)
	return nil
}

var (
	handout   = []byte(`"action":"handout"`)
	callerKey = []byte(`"caller":"`)
)

// take learns from whole lines. Hand-outs may be thousands a second: of each
// caller's only the last is looked into.
func (h *History) take(raw []byte) {
	h.init()
	last := map[string][]byte{}
	for line := range bytes.Lines(raw) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if bytes.Contains(line, handout) {
			if _, rest, ok := bytes.Cut(line, callerKey); ok {
				if who, _, ok := bytes.Cut(rest, []byte(`"`)); ok {
					last[string(who)] = line
				}
			}
			continue
		}
		if l, err := audit.ParseLine(line); err == nil {
			h.learn(l.Event)
		}
	}
	for _, line := range last {
		var e rotate.Event
		if json.Unmarshal(line, &e) == nil {
			h.saw(e)
		}
	}
	h.trim()
}

func (h *History) init() {
	if h.past == nil {
		h.past, h.seen = map[string][]Key{}, map[string]time.Time{}
	}
}

// saw notes when a caller came.
func (h *History) saw(e rotate.Event) {
	if len(h.seen) < maxSeen || !h.seen[e.Caller].IsZero() {
		h.seen[e.Caller] = e.Time
	}
}

// trim forgets the oldest events.
func (h *History) trim() {
	h.events = slices.Delete(h.events, 0, max(0, len(h.events)-maxEvents))
	h.steps = slices.Delete(h.steps, 0, max(0, len(h.steps)-maxSteps))
}

func (h *History) learn(e rotate.Event) {
	if ev, ok := eventOf(e); ok {
		h.steps = append(h.steps, ev)
		if _, ordered := told[e.Action]; ordered && e.Action != "enrol" || ev.Level != Good {
			h.events = append(h.events, ev)
		}
	}
	if e.Result != "ok" || e.Key == "" || len(h.past) >= maxUsers && h.past[e.User] == nil {
		return
	}
	at, keys := Moment{At: e.Time}, h.past[e.User]
	if e.Action == string(plan.Create) {
		keys = append(keys, Key{ID: rotate.ShortID(e.Key), Created: at, whole: e.Key})
		h.past[e.User] = keys[max(0, len(keys)-maxPast):]
		return
	}
	for i := range keys {
		k := &keys[i]
		switch {
		case e.Action == string(plan.Promote) && k.whole == e.Key:
			k.Promoted = at
		case e.Action == string(plan.Promote) && !k.Promoted.At.IsZero() && k.Superseded.At.IsZero():
			k.Superseded = at
		case k.whole != e.Key:
		case e.Action == string(plan.Deactivate):
			k.Deactivated = at
		case e.Action == string(plan.Delete), e.Action == string(plan.Forget) && k.Deleted.At.IsZero():
			k.Deleted = at
		}
	}
}

// eventOf words an audited event, if it is one for the feed.
func eventOf(e rotate.Event) (Event, bool) {
	out := Event{At: e.Time, User: e.User, Level: Good}
	if e.Key != "" {
		out.Key = rotate.ShortID(e.Key)
	}
	if text, ok := told[e.Action]; ok {
		out.Text, out.By = text, clean(e.Actor)
		if e.Reason != "" {
			out.Text += ": " + clean(e.Reason)
		}
		switch e.Action {
		case "burn", "audit_gap":
			out.Level = Bad
		case "pause", "rollback", "audit_repair":
			out.Level = Warn
		case "enrol":
			out.By = ""
		}
		return out, true
	}
	switch {
	case e.Result == "" && e.Action != "released": // announced, not done yet
		return out, false
	case e.Result == "refused", e.Action == string(plan.Verify), e.Action == string(plan.Probe):
		return out, false // what follows from the answer is shown
	case e.Result == "ok" || e.Result == "":
		out.Text = done[e.Action]
		if why := because[plan.Reason(e.Reason)]; why != "" {
			out.Text, out.Level = out.Text+": "+why, Warn
		}
	default:
		out.Level, out.Text = Bad, failed[e.Action]
		if out.Text == "" {
			out.Text = e.Action + " failed"
		}
		out.Text += ": " + clean(e.Result)
	}
	return out, out.Text != ""
}

// Note learns of entries what the log does not tell: when keys were proven.
func (h *History) Note(entries []*rotate.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range entries {
		for _, held := range e.Record.Keys {
			for i, k := range h.past[e.Record.User] {
				if k.whole == held.ID {
					h.past[e.Record.User][i].Verified = Moment{At: held.Proven}
				}
			}
		}
	}
}

// Tee returns an audit log that appends to log and learns what log took. It is
// for logs that are not in a file.
func (h *History) Tee(log rotate.Audit) rotate.Audit { return tee{log, h} }

type tee struct {
	rotate.Audit
	h *History
}

func (t tee) Append(ctx context.Context, e rotate.Event) error {
	if err := t.Audit.Append(ctx, e); err != nil {
		return err
	}
	t.h.mu.Lock()
	defer t.h.mu.Unlock()
	t.h.init()
	if e.Action == "handout" {
		t.h.saw(e)
		return nil
	}
	t.h.learn(e)
	t.h.trim()
	return nil
}

// Events returns the latest events of the users that sees is true of, newest
// first: all of them, or, as steps of many users would leave nothing else to be
// seen, only those that are not routine.
func (h *History) Events(routine bool, sees func(user string) bool) []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	from, out := h.events, []Event{}
	if routine {
		from = h.steps
	}
	for _, e := range slices.Backward(from) {
		if len(out) == maxEvents {
			break
		}
		if sees(e.User) {
			out = append(out, e)
		}
	}
	return out
}

// Past returns the lives of the user's keys that are gone, oldest first.
func (h *History) Past(user string) []Key {
	h.mu.Lock()
	defer h.mu.Unlock()
	// What is not known to be gone is in the store, or was lost.
	return slices.DeleteFunc(slices.Clone(h.past[user]), func(k Key) bool { return k.Deleted.At.IsZero() })
}

// Seen returns when callers came last.
func (h *History) Seen() map[string]time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.seen)
}
