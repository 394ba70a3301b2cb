package cli

import (
	"strings"
	"testing"
)

func TestActor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, user, login, sudo, want string }{
		{"a person's own shell", "alice", "alice", "", "operator alice"},
		{"root by sudo", "root", "alice", "alice", "operator root (logged in as alice)"},
		{"root by sudo, where the kernel keeps no login", "root", "", "alice", "operator root (sudo by alice)"},
		{"root by su", "root", "alice", "", "operator root (logged in as alice)"},
		{"somebody who sets SUDO_USER", "root", "alice", "bob", "operator root (logged in as alice, sudo by bob)"},
		{"a unit", "keyrot", "", "", "operator keyrot"},
		{"nobody is known", "", "", "", "operator"},
		{"a name that would clear the screen", "root", "", "x\x1b[2J\u202e", `operator root (sudo by x\u001b[2J\u202e)`},
		{"a name that is too long", "root", "", strings.Repeat("é", 70), "operator root (sudo by " + strings.Repeat("é", 64) + "…)"},
	} {
		if got := actor(tc.user, tc.login, tc.sudo); got != tc.want {
			t.Errorf("%s: actor = %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestOperatorNamesWhoUsedSudo: what is recorded is what sudo says.
func TestOperatorNamesWhoUsedSudo(t *testing.T) {
	t.Setenv("SUDO_USER", "alice-of-the-night-shift")
	if got := operator(); !strings.Contains(got, "sudo by alice-of-the-night-shift") {
		t.Errorf("operator() = %q, want it to name SUDO_USER", got)
	}
}
