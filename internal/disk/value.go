package disk

import (
	"log/slog"
	"os"
	"sync"
)

// Value is what a file holds: a password, an API key, certificates. It is read
// again at every use, because whoever rotates it replaces the file, often by
// changing a link above it. A file that cannot be used leaves what it held
// before in use, and is warned of once. Safe for concurrent use; must not be
// copied after first use.
type Value[T any] struct {
	Path string            // what is read only once if it is a pipe
	Read func() (T, error) // reads and checks the file; its errors hold no secret
	Log  *slog.Logger      // nil: discards

	mu     sync.Mutex
	last   T
	has    bool
	warned string
}

// Get returns what the file holds, or what it held when it could last be used.
// Its error is that of a file that never could.
func (v *Value[T]) Get() (T, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.has {
		if info, err := os.Stat(v.Path); err == nil && !info.Mode().IsRegular() {
			return v.last, nil
		}
	}
	now, err := v.Read()
	switch {
	case err == nil:
		v.last, v.has, v.warned = now, true, ""
	case !v.has:
		return now, err
	case v.warned != err.Error():
		v.warned = err.Error()
		if v.Log != nil {
			v.Log.Warn("a file cannot be used, what it held before stays in use", "file", v.Path, "err", err)
		}
	}
	return v.last, nil
}
