package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// VerifyBetween checks a log that continues from (zero: begins) and must
// reach to (zero: may end anywhere), and returns its end. The error names the
// first line that is wrong.
func VerifyBetween(r io.Reader, from, to Tail) (Tail, error) {
	c := check{begin: from, begun: true, anchors: []Tail{to}}
	err := c.read(r)
	if err == nil {
		err = c.reached()
	}
	return c.end(), err
}

// VerifyLog checks a log that must have the lines that the anchors name, and
// returns its end. It may begin later than with number 1 if one of its lines says
// that what came before was pruned, or more than that: every line stands for those
// before it, so a crash while they were removed does no harm.
func VerifyLog(r io.Reader, anchors ...Tail) (Tail, error) {
	c := check{anchors: anchors}
	if err := c.read(r); err != nil {
		return c.end(), err
	}
	return c.end(), c.whole()
}

// Verify checks the log in these files as [VerifyLog] does. Errors name the file.
func (fs Files) Verify(anchors ...Tail) (Tail, error) {
	c := check{anchors: anchors}
	for _, p := range fs {
		c.n = 0
		if err := c.read(p.text); err != nil {
			return c.end(), fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return c.end(), c.whole()
}

// errBegin: the log begins later than with number 1.
var errBegin = errors.New("the beginning is missing")

// whole returns what is missing at the log's beginning or end.
func (c *check) whole() error {
	if err := c.reached(); err != nil {
		return err
	}
	if c.begin.Seq > c.cut {
		return fmt.Errorf("line 1: has number %d, and no line says that those before it were pruned: %w: %w", c.begin.Seq+1, errBegin, ErrBroken)
	}
	return nil
}

// check follows a chain, in memory that does not depend on its length.
type check struct {
	begin   Tail // the line before the first one
	begun   bool // begin is set, or a line was read
	anchors []Tail
	cut     uint64 // up to which number lines were pruned, as a line says

	n    int    // lines
	seq  uint64 // of the last one
	hash [hashLen]byte
}

func (c *check) end() Tail {
	if c.seq == 0 {
		return Tail{}
	}
	return Tail{c.seq, string(c.hash[:])}
}

func (c *check) read(r io.Reader) error {
	if c.begun && c.seq == 0 {
		c.seq = c.begin.Seq
		copy(c.hash[:], c.begin.prev())
	}
	in := scanner(r)
	for in.Scan() {
		c.n++
		if err := c.line(in.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", c.n, err)
		}
	}
	return ended(in, c.n)
}

// reached returns an error if a line is missing that an anchor names.
func (c *check) reached() error {
	for _, to := range c.anchors {
		if c.seq < to.Seq {
			return fmt.Errorf("line %d: missing; the log ends at number %d, the anchor names %d: %w", c.n+1, c.seq, to.Seq, ErrBroken)
		}
	}
	return nil
}

// line checks that b is a line, and the next one.
func (c *check) line(b []byte) error {
	seq, prev, hash, err := parts(b)
	if err != nil {
		return err
	}
	if !c.begun { // wherever it begins
		c.begun, c.seq = true, seq-1
		copy(c.hash[:], prev)
		if c.seq > 0 {
			c.begin = c.end()
		} else {
			copy(c.hash[:], genesis)
		}
	}
	switch {
	case seq != c.seq+1:
		return fmt.Errorf("has number %d, want %d: %w", seq, c.seq+1, ErrBroken)
	case !bytes.Equal(prev, c.hash[:]):
		return fmt.Errorf("does not follow the line before it: %w", ErrBroken)
	}
	c.seq = seq
	copy(c.hash[:], hash)
	for _, to := range c.anchors {
		if seq == to.Seq && to.Hash != string(hash) {
			return fmt.Errorf("is not the line the anchor names: %w", ErrBroken)
		}
	}
	if bytes.Contains(b, pruneMark) {
		c.pruned(b)
	}
	return nil
}

// pruned notes what a line says of pruned ones.
func (c *check) pruned(b []byte) {
	l, err := ParseLine(b)
	if err != nil || l.Action != ActionPrune {
		return
	}
	if s, err := parseSegment(l.Reason); err == nil && s.To.Seq < l.Seq {
		c.cut = max(c.cut, s.To.Seq)
	}
}

const (
	seqKey  = `{"seq":`
	prevKey = `,"prev":"`
)

// parts takes a line apart and checks its own hash, as [ParseLine] does, without
// making anything of the event.
func parts(b []byte) (seq uint64, prev, hash []byte, err error) {
	if len(b) < trailLen || len(b) > maxLine {
		return 0, nil, nil, fmt.Errorf("a line of %d bytes: %w", len(b), ErrBroken)
	}
	body, trail := b[:len(b)-trailLen], b[len(b)-trailLen:]
	sum := sha256.Sum256(body)
	var want [hashLen]byte
	hex.Encode(want[:], sum[:])
	hash = trail[len(hashKey) : len(hashKey)+hashLen]
	if string(trail[:len(hashKey)]) != hashKey || !bytes.Equal(hash, want[:]) || string(trail[len(hashKey)+hashLen:]) != `"}` {
		return 0, nil, nil, fmt.Errorf("hash does not fit the content: %w", ErrBroken)
	}
	if !record(b) {
		return 0, nil, nil, fmt.Errorf("not a record: %w", ErrBroken)
	}
	rest, ok := bytes.CutPrefix(body, []byte(seqKey))
	digits := bytes.IndexByte(rest, ',')
	if !ok || digits < 0 {
		return 0, nil, nil, fmt.Errorf("not a record: %w", ErrBroken)
	}
	seq, err = strconv.ParseUint(string(rest[:digits]), 10, 64)
	rest, ok = bytes.CutPrefix(rest[digits:], []byte(prevKey))
	if err != nil || seq == 0 || !ok || len(rest) <= hashLen || rest[hashLen] != '"' {
		return 0, nil, nil, fmt.Errorf("not a record: %w", ErrBroken)
	}
	return seq, rest[:hashLen], hash, nil
}

// record reports whether b is a JSON object. Lines of one are strings and
// numbers without escapes nearly always, which needs no real parser.
func record(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c == '\\' || c >= 0x80 {
			return json.Valid(b)
		}
	}
	rest, opening := b, byte('{')
	for {
		if len(rest) == 0 || rest[0] != opening {
			return opening == ',' && string(rest) == "}" || json.Valid(b)
		}
		name := word(rest[1:])
		if name == 0 || len(rest) <= 1+name || rest[1+name] != ':' {
			return json.Valid(b)
		}
		rest = rest[2+name:]
		n := word(rest)
		if n == 0 {
			n = number(rest)
		}
		if n == 0 {
			return json.Valid(b)
		}
		rest, opening = rest[n:], ','
	}
}

// word returns the length of the string, in its quotes, that b begins with; 0 if
// there is none. It has no escapes.
func word(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	end := bytes.IndexByte(b[1:], '"')
	if end < 0 {
		return 0
	}
	return end + 2
}

// number returns the length of the whole number that b begins with.
func number(b []byte) int {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	if n > 1 && b[0] == '0' {
		return 0
	}
	return n
}
