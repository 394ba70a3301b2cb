//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package audit

import (
	"os"

	"github.com/gofrs/flock"
)

// lock is the lock between processes. It is not safe for concurrent use.
type lock struct{ *flock.Flock }

func newLock(path string) *lock {
	return &lock{flock.New(path, flock.SetFlag(os.O_RDWR|os.O_CREATE), flock.SetPermissions(0o600))}
}
