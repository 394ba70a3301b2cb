package cli

import (
	"os"
	"os/user"
	"strings"

	"github.com/keyrot/keyrot/internal/printable"
)

// noLogin is the login id of a process that nobody logged in for (Linux).
const noLogin = "4294967295"

// operator names who acts, for the audit log.
func operator() string {
	var name, login string
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	// What a person logged in as; neither sudo nor su changes it, and only a
	// privileged process can (credentials(7), pam_loginuid(8)).
	if raw, err := os.ReadFile("/proc/self/loginuid"); err == nil {
		if id := strings.TrimSpace(string(raw)); id != noLogin {
			login = "uid " + id
			if u, err := user.LookupId(id); err == nil {
				login = u.Username
			}
		}
	}
	by := os.Getenv("SUDO_USER")
	if by == "" {
		by = os.Getenv("DOAS_USER")
	}
	return actor(name, login, by)
}

// actor says as whom a command ran and, where that is somebody else, who is
// behind it: the login that the kernel knows, and what sudo says.
func actor(name, login, sudo string) string {
	out := strings.TrimSpace("operator " + shown(name))
	var behind []string
	if login != "" && login != name {
		behind = append(behind, "logged in as "+shown(login))
	}
	if sudo != "" && sudo != name && sudo != login {
		behind = append(behind, "sudo by "+shown(sudo))
	}
	if len(behind) == 0 {
		return out
	}
	return out + " (" + strings.Join(behind, ", ") + ")"
}

// shown bounds a name that the environment holds, where anybody may have put it.
func shown(name string) string {
	const most = 64
	if r := []rune(name); len(r) > most {
		name = string(r[:most]) + "…"
	}
	return printable.Line(name)
}
