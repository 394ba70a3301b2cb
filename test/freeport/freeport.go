// Package freeport chooses ports for servers that a test starts as processes of
// their own, or that have to come back under the same address.
package freeport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/gofrs/flock"
)

// The ports that are chosen from. They lie below those that Linux (32768 and up),
// macOS and Windows (49152 and up, RFC 6335) give to outgoing connections and to
// listeners on port 0, so that none of those takes one before its server listens.
const (
	first = 20000
	past  = 32000
)

// held are the locks of this process's ports, until it ends. A lock that is
// collected would be given up.
var held struct {
	sync.Mutex
	locks []*flock.Flock
}

// Addr returns an address on 127.0.0.1 that nobody listens on, as host:port. No
// other call returns it, in any process of this user's, until this process ends.
// Safe for concurrent use.
func Addr(ctx context.Context) (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("keyrot-test-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("choosing a port: %w", err)
	}
	for range past - first {
		port := strconv.Itoa(first + rand.N(past-first))
		lock := flock.New(filepath.Join(dir, port))
		if got, err := lock.TryLock(); err != nil {
			return "", fmt.Errorf("choosing a port: %w", err)
		} else if !got {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", port)
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err == nil {
			err = l.Close()
		}
		if err != nil { // somebody else's
			_ = lock.Unlock()
			continue
		}
		held.Lock()
		defer held.Unlock()
		held.locks = append(held.locks, lock)
		return addr, nil
	}
	return "", errors.New("choosing a port: none is free")
}
