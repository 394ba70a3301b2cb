//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is an HTTP/2 connection that can send what no client library would.
type h2 struct {
	conn   *tls.Conn
	frames *http2.Framer
	out    *bufio.Writer
	block  bytes.Buffer
	enc    *hpack.Encoder
	next   uint32 // stream id
}

// dialH2 connects to a server on loopback, whose certificate is not looked at.
func dialH2(ctx context.Context, addr string) (*h2, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &h2{conn: conn.(*tls.Conn), next: 1}
	c.out = bufio.NewWriterSize(conn, 64<<10)
	c.frames = http2.NewFramer(c.out, bufio.NewReader(conn))
	c.enc = hpack.NewEncoder(&c.block)
	_, _ = c.out.WriteString(http2.ClientPreface)
	return c, errors.Join(c.frames.WriteSettings(), c.frames.WriteWindowUpdate(0, 1<<30), c.out.Flush())
}

// request sends the headers of a request, with one of padding bytes that says
// nothing. With open, a body is announced and never sent.
func (c *h2) request(method, path string, padding int, open bool) error {
	c.block.Reset()
	fields := []hpack.HeaderField{
		{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "localhost"}, {Name: ":path", Value: path},
	}
	if open {
		fields = append(fields, hpack.HeaderField{Name: "content-type", Value: "application/x-www-form-urlencoded"})
	}
	if padding > 0 {
		fields = append(fields, hpack.HeaderField{Name: "x-padding", Value: strings.Repeat("~", padding), Sensitive: true})
	}
	for _, f := range fields {
		if err := c.enc.WriteField(f); err != nil {
			return err
		}
	}
	id, rest := c.next, c.block.Bytes()
	c.next += 2
	chunk := rest[:min(len(rest), 16<<10)]
	rest = rest[len(chunk):]
	err := c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: chunk, EndStream: !open, EndHeaders: len(rest) == 0})
	for len(rest) > 0 && err == nil {
		chunk, rest = rest[:min(len(rest), 16<<10)], rest[min(len(rest), 16<<10):]
		err = c.frames.WriteContinuation(id, len(rest) == 0, chunk)
	}
	return err
}

// tableSize tells the server how large the table of its header encoder may be.
func (c *h2) tableSize(n uint32) error {
	return c.frames.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: n})
}

// drain reads and forgets what the server sends, until the connection ends.
func (c *h2) drain() { _, _ = io.Copy(io.Discard, c.conn) }
