//go:build !unix

package quick

import (
	"io"
	"net"
	"os"
	"time"
)

// exchange sends the question to the socket and returns what comes until the
// end, all within wait (milliseconds).
func exchange(socket string, question []byte, wait int64) ([]byte, error) {
	conn, err := net.DialTimeout("unix", socket, time.Duration(wait)*time.Millisecond) //nolint:noctx // bounded
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Duration(wait) * time.Millisecond))
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(conn, maxAnswer))
}

// ReadFile returns what a file holds.
func ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

func me() int { return 0 } // has no meaning here

// private reports whether the path is a socket. Who may offer and use it is up to
// the folder that it is in.
func private(path string, _ int) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&os.ModeSocket != 0
}

// absent reports whether surely nothing is there.
func absent(path string) bool {
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}
