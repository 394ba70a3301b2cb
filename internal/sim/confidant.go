package sim

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// part is how much of a secret makes a leak.
const part = 20

// secrets are all that AWS handed out, by how they begin.
type secrets struct {
	mu   sync.RWMutex
	head map[string]bool
}

func (s *secrets) add(secret rotate.Secret) {
	if secret.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == nil {
		s.head = map[string]bool{}
	}
	s.head[secret.Reveal()[:part]] = true
}

// in reports whether text holds one of them. Their characters are letters and
// digits only, so it looks at words that are long enough, and passes over the
// others without reading them whole.
func (s *secrets) in(text []byte) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for from := 0; from+part <= len(text); {
		last := from + part - 1
		for last >= from && wordy[text[last]] {
			last--
		}
		if last >= from { // every word that holds this character's place is too short
			from = last + 1
			continue
		}
		if s.head[string(text[from:from+part])] {
			return true
		}
		for from++; from+part <= len(text) && wordy[text[from+part-1]]; from++ {
			if s.head[string(text[from:from+part])] {
				return true
			}
		}
		from += part
	}
	return false
}

// wordy says which bytes a secret may consist of.
var wordy = func() (is [256]bool) {
	for c := range is {
		is[c] = '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
	}
	return is
}()

// confide checks what leaves the daemon.
func (s *simulation) confide(where string, texts ...string) {
	s.confideLine(where, func(line []byte) []byte {
		for _, t := range texts {
			line = append(append(line, t...), ' ')
		}
		return line
	})
}

// confideLine checks the line that write appends to what it is given.
func (s *simulation) confideLine(where string, write func([]byte) []byte) {
	s.lines.Lock()
	s.line = write(s.line[:0])
	leak := ""
	if s.secrets.in(s.line) {
		leak = string(s.line)
	}
	s.lines.Unlock()
	if leak != "" {
		s.violation("no leak: %s has a secret: %s", where, leak)
	}
}

// confidant is a log that looks for secrets in what it is told: in the text
// that [slog.TextHandler] would make of it, without the quotation marks.
type confidant struct {
	s     *simulation
	level slog.Level
	out   slog.Handler // nil: discarded
	with  []slog.Attr
}

func (s *simulation) confidant(level slog.Level, out io.Writer) *confidant {
	c := &confidant{s: s, level: level}
	if out != nil {
		c.out = slog.NewTextHandler(out, &slog.HandlerOptions{Level: level})
	}
	return c
}

// Enabled implements [slog.Handler].
func (c *confidant) Enabled(_ context.Context, l slog.Level) bool { return l >= c.level }

// Handle implements [slog.Handler].
func (c *confidant) Handle(ctx context.Context, r slog.Record) error {
	c.s.confideLine("the log", func(line []byte) []byte {
		line = append(line, r.Message...)
		for _, a := range c.with {
			line = appendAttr(line, a)
		}
		r.Attrs(func(a slog.Attr) bool {
			line = appendAttr(line, a)
			return true
		})
		return line
	})
	if c.out == nil {
		return nil
	}
	return c.out.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (c *confidant) WithAttrs(as []slog.Attr) slog.Handler {
	d := *c
	d.with = slices.Concat(c.with, as)
	if c.out != nil {
		d.out = c.out.WithAttrs(as)
	}
	return &d
}

// WithGroup implements [slog.Handler].
func (c *confidant) WithGroup(name string) slog.Handler {
	d := *c
	if c.out != nil {
		d.out = c.out.WithGroup(name)
	}
	return &d
}

func appendAttr(line []byte, a slog.Attr) []byte {
	line = append(append(append(line, ' '), a.Key...), '=')
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return append(line, v.String()...)
	case slog.KindGroup:
		for _, a := range v.Group() {
			line = appendAttr(line, a)
		}
		return line
	case slog.KindAny:
		switch v := v.Any().(type) {
		case encoding.TextMarshaler:
			text, err := v.MarshalText()
			if err != nil {
				text = []byte(err.Error())
			}
			return append(line, text...)
		case []byte:
			return append(line, v...)
		default:
			return fmt.Appendf(line, "%+v", v)
		}
	default:
		return append(line, v.String()...)
	}
}

// proven checks that every proof that is saved is on record.
func (s *simulation) proven(r plan.Record) {
	s.mu.Lock()
	var missing string
	for _, k := range r.Keys {
		if !k.Proven.IsZero() && !s.proofs[k.ID] {
			missing = k.ID
		}
	}
	s.mu.Unlock()
	if missing != "" {
		s.violation("on record: %s: a proof of %s is saved and not on record", r.User, missing)
	}
}
