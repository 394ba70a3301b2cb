// Package quick is what get-key does in a process that has only just begun: it
// reads the command line and hands on what the local agent answers. It makes
// system calls and imports nothing else, so that Go initialises it, and its
// importers, before nearly all of the program (docs/adr/0007-get-key-speed.md).
// Whatever is not plain it leaves to the command.
package quick

import (
	"syscall"

	"github.com/keyrot/keyrot/internal/harden"
)

// Endpoint is where a server is looked for that nobody named.
const Endpoint = "http://127.0.0.1:8080"

// begun is what the process was started for, once [Begin] has looked.
var begun *Request

// Begun returns what the process was started for, or nil: something else than
// get-key, something that is not plain, or Begin was not called.
func Begun() *Request { return begun }

var asked bool

// Asked reports whether [Begin] asked the agent, which could not help.
func Asked() bool { return asked }

// Begin looks at the command line. If it is get-key's and the agent has the
// answer, that is printed, and the process ends. It is called once, before main.
func Begin() {
	getenv := func(name string) string { v, _ := syscall.Getenv(name); return v }
	r, ok := parse(args(), getenv)
	if !ok {
		return
	}
	harden.Process()
	begun = &r
	if r.NoAgent {
		return
	}
	asked = true
	if text, ok := Ask(Socket(getenv), r.User, r.Format, r.Region); ok {
		Print(text)
	}
}

// Print prints the text and ends the process. It returns if nothing could be
// printed: then the command will say why.
func Print(text string) {
	for left := []byte(text); ; {
		n, err := syscall.Write(syscall.Stdout, left)
		if n > 0 {
			left = left[n:]
		}
		switch {
		case len(left) == 0:
			syscall.Exit(0)
		case err == syscall.EINTR || n > 0 && err == nil: // as system calls return it
		case len(left) == len(text):
			return
		default: // a part is of no use to anybody
			_, _ = syscall.Write(syscall.Stderr, []byte("keyrot: error: writing the credential: "+reason(err)+"\n"))
			syscall.Exit(1)
		}
	}
}

func reason(err error) string {
	if err == nil {
		return "nothing is taken any more"
	}
	return err.Error()
}
