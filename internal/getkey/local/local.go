// Package local answers get-key on the agent's unix socket, whose mode is the
// access control. The protocol is [getkey.Asking]'s.
package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/pkg/api"
)

const (
	patience = 5 * time.Second // with who asks
	maxLine  = 1 << 10         // bytes; a user's name has 64 characters at most
)

// Serve answers on ln with what credential returns until ctx ends, and closes
// ln. Answers under way are finished first.
func Serve(ctx context.Context, ln net.Listener, credential func(user string) (api.Credential, error)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	defer func() { _ = ln.Close() }()
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				answer(conn, credential)
			})
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // no file descriptor is free, say: that passes
			t := time.NewTimer(100 * time.Millisecond)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
		}
	}
}

func answer(conn net.Conn, credential func(user string) (api.Credential, error)) {
	_ = conn.SetDeadline(time.Now().Add(patience)) // if not, who asks closes it
	line, err := bufio.NewReaderSize(conn, maxLine).ReadSlice('\n')
	if err != nil {
		return
	}
	user, ours := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), getkey.Asking)
	if !ours {
		_, _ = fmt.Fprintf(conn, "keyrot: this is the agent's socket for keyrot-get; want %qUSER\n", getkey.Asking)
		return
	}
	c, err := credential(user)
	if err != nil {
		_, _ = fmt.Fprintf(conn, "keyrot: %v\n", err)
		return
	}
	e := getkey.Entry{Credential: c}
	_, _ = conn.Write(e.Encode()) // the other side is gone: nobody to tell
}
