package sim

import (
	"io"
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

// in reports whether text holds one of them.
func (s *secrets) in(text string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	run := 0 // length of the word that ends here: secrets have no other characters
	for i := range len(text) {
		if c := text[i]; c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z' {
			run = 0
			continue
		}
		if run++; run >= part && s.head[text[i+1-part:i+1]] {
			return true
		}
	}
	return false
}

// confide checks what leaves the daemon.
func (s *simulation) confide(where, text string) {
	if s.secrets.in(text) {
		s.violation("no leak: %s has a secret: %s", where, text)
	}
}

// confidant is a log that looks for secrets in what it is told.
type confidant struct {
	s   *simulation
	out io.Writer // nil: discarded
}

// Write implements [io.Writer].
func (c *confidant) Write(line []byte) (int, error) {
	c.s.confide("the log", string(line))
	if c.out == nil {
		return len(line), nil
	}
	return c.out.Write(line)
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
