// Package early answers get-key from the agent or the cache before the rest of
// the program is initialised. Go initialises packages in the order of their paths
// as soon as what they import is ready, so those that import little come before
// net/http, the database and the sandbox, whose tables take longer than all of
// get-key (docs/adr/0007-get-key-speed.md). There are three: agent imports
// nothing, cache a cipher, and this one, for every format and caller, what
// package getkey needs. Nothing depends on that order: whatever is not answered
// here, and everything if a configuration file exists, is left to the command,
// which does the same with the same code.
package early

import (
	"context"
	"os"
	"time"

	_ "github.com/keyrot/keyrot/cmd/keyrot/early/cache" // is looked at first
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/quick"
)

func init() { //nolint:gochecknoinits // the point of this package
	if run(quick.Begun()) {
		os.Exit(0)
	}
}

// run answers if the cache has what is asked for. If not it has printed nothing.
func run(r *quick.Request) (done bool) {
	if r == nil {
		return false
	}
	return getkey.Warm(context.Background(), &getkey.World{Out: os.Stdout, Err: os.Stderr, Getenv: r.Getenv, Now: time.Now}, &getkey.Options{
		User: r.User, Format: r.Format, Region: r.Region, Endpoint: r.Endpoint, APIKeyFile: r.APIKeyFile, CAFile: r.CAFile,
		Identity: r.Identity, OIDCTokenFile: r.OIDCTokenFile, AllowPlainHTTP: r.AllowPlainHTTP, NoCache: r.NoCache, NoAgent: r.NoAgent,
	})
}
