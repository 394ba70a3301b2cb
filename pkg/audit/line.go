package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// ErrBroken: a line was changed, dropped, reordered or cut off.
var ErrBroken = errors.New("audit log is broken")

// maxLine bounds one line, in bytes.
const maxLine = 1 << 20

// genesis is what the first line of a chain has as prev.
const genesis = "0000000000000000000000000000000000000000000000000000000000000000"

// Line is one line of the log:
//
//	{"seq":N,"prev":"<hash of line N-1>",<fields of the event>,"hash":"<hash>"}
//
// The hash is the SHA-256, in lower-case hex, of the bytes of the line before
// `,"hash":`. As prev is among them, each hash stands for all lines before.
type Line struct {
	Seq  uint64 `json:"seq"`
	Prev string `json:"prev"`
	rotate.Event
	Hash string `json:"hash"`
}

// Tail names the end of a chain. The zero value is the end of the empty one.
type Tail struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

func (t Tail) prev() string {
	if t.Seq == 0 {
		return genesis
	}
	return t.Hash
}

const (
	hashKey  = `,"hash":"`
	hashLen  = 2 * sha256.Size
	trailLen = len(hashKey) + hashLen + len(`"}`)
)

// Frame appends to buf the line that follows tail, made of an event in JSON,
// and its newline. It returns the new end of the chain. Whoever keeps a chain
// elsewhere than in a file uses it.
func Frame(buf []byte, tail Tail, event []byte) ([]byte, Tail) {
	start := len(buf)
	buf = append(buf, `{"seq":`...)
	buf = strconv.AppendUint(buf, tail.Seq+1, 10)
	buf = append(buf, `,"prev":"`...)
	buf = append(buf, tail.prev()...)
	buf = append(buf, `",`...)
	buf = append(buf, event[1:len(event)-1]...) // an event has at least its time
	sum := sha256.Sum256(buf[start:])
	buf = append(buf, hashKey...)
	buf = hex.AppendEncode(buf, sum[:])
	next := Tail{tail.Seq + 1, string(buf[len(buf)-hashLen:])}
	return append(buf, "\"}\n"...), next
}

// ParseLine reads one line, without its newline, and checks its own hash.
func ParseLine(b []byte) (Line, error) {
	var l Line
	if len(b) < trailLen || len(b) > maxLine {
		return l, fmt.Errorf("a line of %d bytes: %w", len(b), ErrBroken)
	}
	body, trail := b[:len(b)-trailLen], b[len(b)-trailLen:]
	sum := sha256.Sum256(body)
	want := append(hex.AppendEncode([]byte(hashKey), sum[:]), `"}`...)
	if !bytes.Equal(trail, want) {
		return l, fmt.Errorf("hash does not fit the content: %w", ErrBroken)
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return Line{}, fmt.Errorf("not a record: %w: %w", ErrBroken, err)
	}
	return l, nil
}

// Lines yields the lines of a log in order, each checked for itself. It ends
// with the first error, which names the line. Memory is bounded by the
// longest line.
func Lines(r io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		in := scanner(r)
		n := 0
		for in.Scan() {
			n++
			l, err := ParseLine(in.Bytes())
			if err != nil {
				yield(Line{}, fmt.Errorf("line %d: %w", n, err))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
		if err := ended(in, n); err != nil {
			yield(Line{}, err)
		}
	}
}

func scanner(r io.Reader) *bufio.Scanner {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 256<<10), maxLine+1)
	in.Split(wholeLines)
	return in
}

// ended says why there are no more lines after the first n; nil: that was all.
func ended(in *bufio.Scanner, n int) error {
	err := in.Err()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("line %d: longer than %d bytes: %w", n+1, maxLine, ErrBroken)
	}
	return fmt.Errorf("line %d: %w", n+1, err)
}

// wholeLines splits at newlines only; bytes after the last one are an error,
// and nothing is trimmed.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, fmt.Errorf("incomplete: %w", ErrBroken)
	}
	return 0, nil, nil
}
