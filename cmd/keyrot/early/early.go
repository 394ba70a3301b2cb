// Package early answers get-key from the agent or the cache before the rest of
// the program is initialised. Go initialises packages in the order of their paths as soon as
// what they import is ready, so this one, which imports little, comes before
// net/http, the database and the sandbox, whose tables take longer than all of
// get-key (docs/adr/0007-get-key-speed.md). Nothing depends on that order: whatever
// is not answered here, and everything if a configuration file exists, is left
// to the command, which does the same with the same code.
package early

import (
	"context"
	"flag"
	"io"
	"os"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/harden"
)

func init() { //nolint:gochecknoinits // the point of this package
	args := os.Args[1:]
	switch name := strings.TrimSuffix(getkey.Base(os.Args[0]), ".exe"); {
	case name == "keyrot-get":
	case len(args) > 0 && args[0] == "get-key" && !configured(os.Getenv):
		args = args[1:]
	default:
		return
	}
	harden.Process()
	if run(args) {
		os.Exit(0)
	}
}

// configured reports whether a configuration file may have a say.
func configured(getenv func(string) string) bool {
	home := getenv("XDG_CONFIG_HOME")
	if !getkey.IsAbs(home) {
		home = getkey.Join(getenv("HOME"), ".config")
	}
	for _, dir := range []string{".", getkey.Join(home, "keyrot"), "/etc/keyrot"} {
		if _, err := os.Lstat(getkey.Join(dir, "keyrot.yaml")); !os.IsNotExist(err) {
			return true
		}
	}
	return false
}

// run answers if args say only what get-key knows, and agent or cache have the
// answer. If not it has printed nothing.
func run(args []string) (done bool) {
	var o getkey.Options
	f := flag.NewFlagSet("get-key", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	o.Flags(f)
	o.ServerFlags(f, os.Getenv)
	if f.Parse(args) != nil || f.NArg() > 0 {
		return false
	}
	return getkey.Warm(context.Background(), &getkey.World{Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Now: time.Now}, &o)
}
