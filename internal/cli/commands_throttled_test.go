package cli

import (
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
	for command, c := range map[string]struct {
		before []string
		done   func(s *shell) bool
	}{
		"users enroll":        {nil, func(s *shell) bool { r := s.Record("ci"); return r.In(plan.Current) != nil }},
		"rotate-once --force": {[]string{"users enroll"}, func(s *shell) bool { return len(s.AWS.Alive("ci")) == 2 }},
		"rollback ci":         {[]string{"users enroll", "rotate-once --force"}, func(s *shell) bool { return s.Record("ci").Pause != nil }},
		"burn ci":             {[]string{"users enroll"}, func(s *shell) bool { return s.Record("ci").Order == nil }},
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := newShell(t, "settle: 0s", "ci")
			for _, b := range c.before {
				s.Succeed(strings.Fields(b)...)
			}
			working := s.AWS.Working("ci")
			s.Strike(rotate.ErrThrottled)
			code, out, errs := s.Run(append(strings.Fields(command), "--wait", "0s")...)
			if code == 0 || !strings.Contains(out+errs, "throttl") {
				t.Errorf("%s = %d, want that it says what failed\n%s%s", command, code, out, errs)
			}
			s.Strike(nil)
			if now := s.AWS.Working("ci"); !slices.Equal(now, working) {
				t.Errorf("%s: keys that work = %v, want %v", command, now, working)
			}
			if code, out, errs := s.Run(strings.Fields(command)...); code != 0 || !c.done(s) {
				t.Errorf("%s afterwards = %d\n%s%s", command, code, out, errs)
			}
		})
	}
}
