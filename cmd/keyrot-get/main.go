// Command keyrot-get is "keyrot get-key" and nothing else: small, so that an
// SDK that starts it before a call does not wait for it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	_ "github.com/keyrot/keyrot/cmd/keyrot/early" // the cache's answer does not wait for the rest
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/fetch"
	"github.com/keyrot/keyrot/internal/getkey/profile"
	"github.com/keyrot/keyrot/internal/printable"
)

const help = `Print the user's active access key, read from the local agent, the cache or a
keyrot server. This is "keyrot get-key" without the rest of keyrot; settings
come from flags and KEYROT_* variables only, not from keyrot.yaml.

Example: keyrot-get --user ci --format credential-process
Exit codes: 0 done, 1 failed, 2 bad input.

`

func main() { os.Exit(run(os.Args[1:], os.Stdout, printable.Writer{Writer: os.Stderr})) }

// run returns the exit code. No signal is caught: nothing needs tidying up.
func run(args []string, out, errs io.Writer) int {
	var o getkey.Options
	f := flag.NewFlagSet("keyrot-get", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	o.Flags(f)
	o.ServerFlags(f, os.Getenv)
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(out, help)
		f.SetOutput(out)
		f.PrintDefaults()
		return 0
	}
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if err != nil {
		_, _ = fmt.Fprintf(errs, "keyrot-get: error: %v\nkeyrot-get: hint: run \"keyrot-get --help\"\n", err)
		return 2
	}
	err = getkey.Run(context.Background(),
		&getkey.World{In: os.Stdin, Out: out, Err: errs, Getenv: os.Getenv, Now: time.Now, Fetch: fetch.Fetch, Profile: profile.Write}, &o)
	return fetch.Report(errs, "keyrot-get", err)
}
