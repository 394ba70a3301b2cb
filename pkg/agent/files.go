package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/internal/disk"
)

// ErrRunning means that another agent answers on the socket.
var ErrRunning = errors.New("another agent is running")

const minToken = 20 // characters

// TokenFile returns the file's token, making file and token if it is not
// there, so that programs keep theirs when the agent restarts. The result reads
// the file again at every call: whoever replaces its content has changed the
// token. A file that was deleted is made again, with the token that it had.
func TokenFile(path string) (func() (string, error), error) {
	var mu sync.Mutex
	token := rand.Text() + rand.Text() // no newline: SDKs send all of it
	read := func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			if err := disk.Create(path, []byte(token)); err != nil && !errors.Is(err, fs.ErrExist) {
				return "", fmt.Errorf("making the token file: %w", err)
			}
		}
		now, err := readToken(path)
		if err == nil {
			token = now
		}
		return now, err
	}
	_, err := read()
	return read, err
}

func readToken(path string) (string, error) {
	info, err := os.Lstat(path)
	if err == nil {
		err = disk.Private(path, info)
	}
	var raw []byte
	if err == nil {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	if token := string(raw); len(token) >= minToken && !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return token, nil
	}
	return "", fmt.Errorf("reading the token file: %s does not hold a token of %d characters or more, without a line's end", path, minToken)
}

// ListenSocket listens on a unix socket of mode 0600. A socket that an agent
// left behind when it was killed is replaced.
func ListenSocket(ctx context.Context, path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	opened, err := disk.OpenDir(dir, true)
	if err != nil {
		return nil, fmt.Errorf("making the socket's folder: %w", err)
	}
	_ = opened.Close() // nobody else can change it
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there and is no socket", path)
		}
		d := net.Dialer{Timeout: time.Second}
		if conn, err := d.DialContext(ctx, "unix", path); err == nil {
			_ = conn.Close()
			return nil, fmt.Errorf("%w on %s", ErrRunning, path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing the socket of an agent that ended: %w", err)
		}
	}
	// Bound under a name that nobody knows, so that it is never open to others.
	hidden := filepath.Join(dir, ".s"+rand.Text()[:8])
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", hidden)
	if err != nil {
		return nil, fmt.Errorf("listening on a socket: %w", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:forcetypeassert // a unix listener
	err = os.Chmod(hidden, 0o600)
	if err == nil {
		err = os.Rename(hidden, path)
	}
	if err != nil {
		_ = os.Remove(hidden)
		return nil, errors.Join(fmt.Errorf("listening on a socket: %w", err), ln.Close())
	}
	return &socket{ln, path}, nil
}

// socket removes its file when it is closed.
type socket struct {
	net.Listener
	path string
}

func (s *socket) Close() error {
	err := s.Listener.Close()
	if rm := os.Remove(s.path); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}
