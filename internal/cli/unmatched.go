package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// ruleOf says what users are selected by: a selection that was kept under another
// rule is not used.
func ruleOf(u config.Users) string {
	raw, err := json.Marshal(u)
	if err != nil { // strings cannot fail
		panic(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// matches finds entries of the configuration that match no user: a name that
// is misspelt excludes nobody. It is safe for concurrent use.
type matches struct {
	cfg  config.Config
	tell func(entries []string) // called when they change; nil: not

	mu         sync.Mutex
	exclusions []string
	entries    []string
}

// unused takes the exclusions that exclude nobody.
func (m *matches) unused(exclusions []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exclusions = exclusions
}

// watch looks at what a selection finds.
func (m *matches) watch(find func(context.Context) ([]rotate.User, error)) func(context.Context) ([]rotate.User, error) {
	return func(ctx context.Context) ([]rotate.User, error) {
		users, err := find(ctx)
		if err == nil || errors.Is(err, rotate.ErrNoUser) && len(users) > 0 {
			m.found(users)
		}
		return users, err
	}
}

func (m *matches) found(users []rotate.User) {
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = u.Name
	}
	m.mu.Lock()
	var entries []string
	for _, x := range m.exclusions {
		entries = append(entries, fmt.Sprintf("users.exclude: %q matches no user", x))
	}
	entries = append(entries, m.cfg.Unmatched(names)...)
	news := !slices.Equal(entries, m.entries)
	m.entries = entries
	m.mu.Unlock()
	if news && m.tell != nil {
		m.tell(entries)
	}
}

// unmatched returns the entries that the last selection left without a user.
func (m *matches) unmatched() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries
}
