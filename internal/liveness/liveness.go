// Package liveness tells which processes of this machine are gone for certain.
//
// Each process has a file with its name in a folder that all of them share, and
// keeps it locked. The kernel gives the lock back when the process ends, however
// it ends, and not before. So who gets the lock of another process's file knows
// that the process is gone, and, as long as it holds the lock, that nobody else
// does.
//
// The folder must not be shared with other machines unless locks are (flock(2)).
// Beside a SQLite file in WAL mode it is not: all processes that use one are on
// one machine (https://sqlite.org/wal.html).
package liveness

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

const (
	lookEvery = time.Second
	keep      = 5 * time.Minute // what a process held has ended by itself then
)

// Registry is a process's place in a folder. Safe for concurrent use.
type Registry struct {
	dir  string
	own  *flock.Flock
	now  func() time.Time
	mu   sync.Mutex
	last time.Time       // when the folder was read
	gone map[string]dead // by name
}

type dead struct {
	lock  *flock.Flock
	since time.Time // it was found
}

// Register makes this process known in dir by a name that no other process has had,
// which may hold any characters. The folder is made if it is not there. If Register
// fails, others may take a process of this name for gone, so none must use it.
func Register(dir, name string) (*Registry, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("registering this process: %w", err)
	}
	r := &Registry{dir: dir, now: time.Now, gone: map[string]dead{}}
	r.own = flock.New(r.path(name), flock.SetFlag(os.O_RDWR|os.O_CREATE|os.O_EXCL), flock.SetPermissions(0o600))
	got, err := r.own.TryLock()
	if err == nil && !got {
		err = errors.New("another process was faster")
	}
	if err != nil {
		return nil, fmt.Errorf("registering this process in %s: %w", dir, err)
	}
	return r, nil
}

// path is the file of the process. A name becomes one element of a path.
func (r *Registry) path(name string) string { return filepath.Join(r.dir, url.PathEscape(name)) }

// Dead returns the names of the processes that are gone. Until Close, or for five
// minutes, no other process is told so of them. The folder is read once a second
// at most.
func (r *Registry) Dead() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); now.Sub(r.last).Abs() >= lookEvery {
		r.last = now
		r.look(now)
	}
	names := make([]string, 0, len(r.gone))
	for name := range r.gone {
		names = append(names, name)
	}
	return names
}

func (r *Registry) look(now time.Time) {
	files, err := os.ReadDir(r.dir)
	if err != nil {
		return // nobody is known to be gone
	}
	for _, f := range files {
		name, err := url.PathUnescape(f.Name())
		path := filepath.Join(r.dir, f.Name())
		if err != nil || path == r.own.Path() {
			continue
		}
		if _, known := r.gone[name]; known {
			continue
		}
		// One that is not there any more is not made: its process has removed it.
		lock := flock.New(path, flock.SetFlag(os.O_RDWR))
		if got, err := lock.TryLock(); err == nil && got {
			r.gone[name] = dead{lock, now}
		} else {
			_ = lock.Close()
		}
	}
	for name, d := range r.gone {
		if now.Sub(d.since) > keep {
			_ = d.lock.Close() // whoever finds it now may go on in its place
			_ = os.Remove(d.lock.Path())
			delete(r.gone, name)
		}
	}
}

// Close takes this process out of the folder: what it still holds ends by itself.
// It must not act for those that are gone any more.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.gone {
		_ = d.lock.Close() // another process may go on in its place
	}
	clear(r.gone)
	err := r.own.Close()
	if rerr := os.Remove(r.own.Path()); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}
