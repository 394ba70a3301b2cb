// Package early answers "keyrot get-key" before the rest of the program is
// initialised. Go initialises packages in the order of their paths as soon as
// what they import is ready, so this one, which imports little, comes before
// the database and the sandbox, whose tables take longer than all of get-key
// (docs/adr/get-key-speed.md). Nothing depends on that order: what is not
// plainly get-key's own, and everything if a configuration file exists, is left
// to the command in internal/cli, which does the same with the same code.
package early

import (
	"context"
	"flag"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/getkey"
)

func init() { //nolint:gochecknoinits // the point of this package
	if len(os.Args) < 2 || os.Args[1] != "get-key" || configured(os.Getenv) {
		return
	}
	if code, done := run(os.Args[2:]); done {
		os.Exit(code)
	}
}

// configured reports whether a configuration file may have a say.
func configured(getenv func(string) string) bool {
	home := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(home) {
		home = filepath.Join(getenv("HOME"), ".config")
	}
	for _, dir := range []string{".", filepath.Join(home, "keyrot"), "/etc/keyrot"} {
		if _, err := os.Lstat(filepath.Join(dir, "keyrot.yaml")); !os.IsNotExist(err) {
			return true
		}
	}
	return false
}

// run does get-key's work if args say only what it knows.
func run(args []string) (code int, done bool) {
	var o getkey.Options
	f := flag.NewFlagSet("get-key", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	o.Flags(f)
	o.ServerFlags(f, os.Getenv)
	if f.Parse(args) != nil || f.NArg() > 0 {
		return 0, false
	}
	for _, arg := range args { // the flag package takes -user for --user, cobra does not
		if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") {
			return 0, false
		}
	}
	if u, err := url.Parse(o.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return 0, false // the command says what is wrong with it
	}
	err := getkey.Run(context.Background(), getkey.World{Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Now: time.Now}, o)
	return getkey.Report(os.Stderr, "keyrot", err), true
}

