//go:build !unix

package getkey

import (
	"io"
	"net"
	"os"
	"time"
)

// exchange sends the request to the socket and returns what comes until the
// end, all within wait.
func exchange(socket string, request []byte, wait time.Duration) ([]byte, error) {
	conn, err := net.DialTimeout("unix", socket, wait) //nolint:noctx // bounded
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(wait))
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(conn, maxAnswer))
}

func readFile(path string) ([]byte, error) { return os.ReadFile(path) }

// private reports whether the path is a socket. Who may use it is up to the
// folder that it is in.
func private(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&os.ModeSocket != 0
}
