package agent

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// metrics counts in Prometheus's text exposition. Labels come from fixed sets
// and from user names, which hold no character that would need escaping.
type metrics struct {
	mu      sync.Mutex
	users   []string
	fetches map[[2]string]int // user, result
	serves  map[[2]string]int // user, via
	refused map[string]int    // reason
}

func (m *metrics) prepare(users []string) {
	m.users = slices.Sorted(slices.Values(users))
	m.fetches, m.serves, m.refused = map[[2]string]int{}, map[[2]string]int{}, map[string]int{}
}

func (m *metrics) fetched(user, result string) { m.add(m.fetches, user, result) }
func (m *metrics) served(user, via string)     { m.add(m.serves, user, via) }

func (m *metrics) add(to map[[2]string]int, user, label string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to[[2]string{user, label}]++
}

func (m *metrics) refuse(reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused[reason]++
}

// write writes all metrics. until is each user's Expiration, zero if nothing
// that works is held.
func (m *metrics) write(w io.Writer, until func(user string) time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _ = io.WriteString(w, "# HELP keyrot_agent_fetches_total Times the server was asked.\n# TYPE keyrot_agent_fetches_total counter\n")
	for _, user := range m.users {
		for _, result := range []string{"ok", "not_modified", "error"} {
			_, _ = fmt.Fprintf(w, "keyrot_agent_fetches_total{user=%q,result=%q} %d\n", user, result, m.fetches[[2]string{user, result}])
		}
	}
	_, _ = io.WriteString(w, "# HELP keyrot_agent_served_total Credentials given to programs.\n# TYPE keyrot_agent_served_total counter\n")
	for _, user := range m.users {
		for _, via := range []string{viaHTTP, viaSocket} {
			_, _ = fmt.Fprintf(w, "keyrot_agent_served_total{user=%q,via=%q} %d\n", user, via, m.serves[[2]string{user, via}])
		}
	}
	_, _ = io.WriteString(w, "# HELP keyrot_agent_refused_total Requests that were not answered with a credential.\n# TYPE "+
		"keyrot_agent_refused_total counter\n")
	for _, reason := range []string{"foreign", "unauthorized", "unknown_user", "no_credential"} {
		_, _ = fmt.Fprintf(w, "keyrot_agent_refused_total{reason=%q} %d\n", reason, m.refused[reason])
	}
	_, _ = io.WriteString(w, "# HELP keyrot_agent_expiration_timestamp_seconds Expiration of the credential held, 0 for none.\n# "+
		"TYPE keyrot_agent_expiration_timestamp_seconds gauge\n")
	for _, user := range m.users {
		var seconds int64
		if t := until(user); !t.IsZero() {
			seconds = t.Unix()
		}
		_, _ = fmt.Fprintf(w, "keyrot_agent_expiration_timestamp_seconds{user=%q} %d\n", user, seconds)
	}
}
