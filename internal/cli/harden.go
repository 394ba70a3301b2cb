package cli

import (
	"os"
	"runtime/debug"
)

// collectLess lets the heap of the daemon, a few MiB that live, grow further
// between two garbage collections, unless GOGC says otherwise. It returns
// what undoes it.
func collectLess() (undo func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(400)
	return func() { debug.SetGCPercent(before) }
}
