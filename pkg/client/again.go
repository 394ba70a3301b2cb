package client

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
)

// passing reports whether the same request may well succeed a moment later: a
// gateway, a firewall or a proxy answered in the server's place, whatever it
// said, or cut the connection. A server that nobody can connect to, and what
// keyrot itself says, is no such case.
func passing(err error) bool {
	return api.ByGateway(err) || errors.Is(err, ErrNotKeyrot) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// rest waits for pause and up to half of it more, so that many clients do not
// come back at once. It reports whether ctx left it the time.
func rest(ctx context.Context, pause time.Duration) bool {
	pause += rand.N(pause / 2)
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= pause {
		return false
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
