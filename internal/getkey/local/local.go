// Package local answers get-key on the agent's unix socket, whose mode is the
// access control. The protocol is [quick.Asking]'s.
package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/quick"
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
	rest, ours := strings.CutPrefix(string(line), quick.Asking)
	words := append(strings.Fields(rest), "") // a region is not always there
	if !ours || len(words) < 3 || len(words) > 4 {
		_, _ = fmt.Fprintf(conn, "keyrot: this is the agent's socket for keyrot-get; want %qUSER FORMAT [REGION]\n", quick.Asking)
		return
	}
	text, err := render(credential, words[0], words[1], words[2])
	if err != nil {
		_, _ = fmt.Fprintf(conn, "keyrot: %v\n", err)
		return
	}
	_, _ = io.WriteString(conn, quick.Answer(text)) // the other side is gone: nobody to tell
}

// render returns what get-key has to print.
func render(credential func(user string) (api.Credential, error), user, format, region string) (string, error) {
	c, err := credential(user)
	if err != nil {
		return "", err
	}
	if c.UserName != user || c.AccessKeyID == "" { // that it works is for the agent to know, by the server's clock
		return "", errNothing
	}
	var text strings.Builder
	err = getkey.Write(&text, format, region, c)
	return text.String(), err
}

var errNothing = errors.New("no credential that works")
