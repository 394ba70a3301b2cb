package cli

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// TestCommandsThatIAMThrottles: every command that changes keys ends, says so,
// leaves the user the key that works, and does its work once IAM answers again.
func TestCommandsThatIAMThrottles(t *testing.T) {
	t.Parallel()
	managed := func(s *shell) (is bool) {
		s.Opened(func(st store) error {
			_, err := st.Load(s.Context(), "ci")
			if is = err == nil; errors.Is(err, rotate.ErrNotFound) {
				err = nil
			}
			return err
		})
		return is
	}
	made := func(s *shell) (id, secret string) {
		k, sec, err := s.AWS.Create(s.Context(), "ci")
		if err != nil {
			s.Fatal(err)
		}
		return k.ID, sec.Reveal()
	}
	for command, c := range map[string]struct {
		before []string
		key    func(s *shell) (id, in string) // KEY in the command, and what is typed
		done   func(s *shell) bool
	}{
		"users enroll":        {nil, nil, func(s *shell) bool { r := s.Record("ci"); return r.In(plan.Current) != nil }},
		"rotate-once --force": {[]string{"users enroll"}, nil, func(s *shell) bool { return len(s.AWS.Alive("ci")) == 2 }},
		"rollback ci":         {[]string{"users enroll", "rotate-once --force"}, nil, func(s *shell) bool { return s.Record("ci").Pause != nil }},
		"burn ci":             {[]string{"users enroll"}, nil, func(s *shell) bool { return s.Record("ci").Order == nil }},
		"users release ci":    {[]string{"users enroll"}, nil, func(s *shell) bool { return !managed(s) }},

		"users import ci --init --key KEY": {nil, made, managed},
		"recover ci --ours KEY --yes":      {[]string{"users enroll other"}, made, func(s *shell) bool { r := s.Record("ci"); return r.In(plan.Current) != nil }},
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := newShell(t, "settle: 0s", "ci", "other")
			for _, b := range c.before {
				s.Succeed(strings.Fields(b)...)
			}
			key, in := "", ""
			if c.key != nil {
				key, in = c.key(s)
			}
			run := func(more ...string) (int, string, string) {
				s.Env.In = strings.NewReader(in)
				return s.Run(append(strings.Fields(strings.ReplaceAll(command, "KEY", key)), more...)...)
			}
			working := s.AWS.Working("ci")
			s.Strike(rotate.ErrThrottled)
			code, out, errs := run("--wait", "0s")
			if code == 0 || !strings.Contains(out+errs, "throttl") {
				t.Errorf("%s = %d, want that it says what failed\n%s%s", command, code, out, errs)
			}
			s.Strike(nil)
			if now := s.AWS.Working("ci"); !slices.Equal(now, working) {
				t.Errorf("%s: keys that work = %v, want %v", command, now, working)
			}
			if code, out, errs := run(); code != 0 || !c.done(s) {
				t.Errorf("%s afterwards = %d\n%s%s", command, code, out, errs)
			}
		})
	}
}
