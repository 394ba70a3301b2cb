package dynamodb

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// endFresh is how long the end that this process has written is taken to be
// the end still. That it is not any more shows when the next block is put.
const endFresh = 2 * time.Second

// end is where a chain ends, as its item names it.
type end struct {
	audit.Tail
	there  bool       // there is an item
	next   []byte     // the key of blocks that may follow; nil: none may
	sealed []byte     // the item's own proof
	gap    string     // what is wrong with the item or after it, or ""
	after  audit.Tail // where the blocks that follow it end
}

// proof is what is sealed in the end's item.
type proof struct {
	audit.Tail
	Next []byte `json:"next,omitempty"`
}

// block is an item of lines.
type block struct {
	first uint64
	lines []byte
	mac   []byte
	end   audit.Tail // hash empty: its last line is unreadable
}

// end returns where to append: after blocks that follow the end, too. It says in
// gap what else is there. It only looks there if again is set: the block that is
// put next finds it otherwise.
//
// The blocks that follow are read by their keys, so that processes that meet and
// processes that die ask for no permission but GetItem and PutItem. Only a
// damaged log is searched, by a Query in its own partition.
func (a *Audit) end(ctx context.Context, again bool) (end, error) {
	if now := a.now(); !again && now.Before(a.fresh) && a.fresh.Sub(now) <= endFresh {
		return a.known, nil
	}
	at, err := a.named(ctx, a.known)
	if err != nil || !again {
		return at, err
	}
	at, other, err := a.walk(ctx, at)
	if err != nil || !other {
		return at, err
	}
	return a.damaged(ctx)
}

// walk follows genuine blocks after the end. other: the next one is not.
func (a *Audit) walk(ctx context.Context, at end) (to end, other bool, err error) {
	for {
		next, err := a.block(ctx, at.after.Seq+1)
		switch {
		case err != nil:
			return end{}, false, err
		case at.gap != "":
			return at, true, nil
		case next.first == 0:
			return at, false, nil
		case !a.follows(at, next):
			return at, true, nil
		}
		at.after = next.end
	}
}

// damaged returns where to append to a log whose named end is not where its
// lines end.
func (a *Audit) damaged(ctx context.Context) (end, error) {
	// Before the end is read: it can only move on meanwhile, so that what was
	// there before and is after it now has not been reached by it.
	last, err := a.last(ctx)
	if err != nil {
		return end{}, err
	}
	at, err := a.named(ctx, a.known)
	if err != nil {
		return end{}, err
	}
	if at, _, err = a.walk(ctx, at); err != nil || last.end.Seq <= at.after.Seq {
		return at, err
	}
	at.gap = fmt.Sprintf("the log was said to end at number %d, it has lines up to %d", at.after.Seq, last.end.Seq)
	at.after = last.end
	return at, nil
}

// named reads the end's item. If its proof is that of known, it need not be
// opened. gap says what is wrong with it: the chain then goes on, and
// verification keeps failing at that place.
func (a *Audit) named(ctx context.Context, known end) (end, error) {
	s := Store{API: a.API, Table: a.Table}
	it, err := s.get(ctx, kindTail, a.chain())
	if err != nil || it == nil {
		return end{}, err
	}
	if a.Sealer == nil {
		return end{}, seal.ErrKeyMissing
	}
	at := end{Tail: audit.Tail{Seq: uint64(it.number(attrSeq)), Hash: it.text(attrHash)}, there: true, sealed: it.bytes(attrSealed)}
	at.after = at.Tail
	if at.Tail == known.Tail && len(known.next) > 0 && bytes.Equal(at.sealed, known.sealed) {
		return known, nil
	}
	raw, err := a.Sealer.Open(ctx, at.sealed, a.aad())
	var p proof
	switch {
	case errors.Is(err, seal.ErrWrongKey), errors.Is(err, seal.ErrMalformed):
		at.gap = "the sealed end of the log does not open"
	case err != nil:
		return end{}, fmt.Errorf("opening the end of the audit log: %w", err)
	case json.Unmarshal(raw, &p) != nil || p.Tail != at.Tail:
		at.gap = "the sealed end of the log is another"
	default:
		at.next = p.Next
	}
	return at, nil
}

// put adds a block after the end. ErrConflict if there is one. A block has no
// time to live: DynamoDB deletes what has expired in any order and days late,
// which nobody could tell from tampering.
func (a *Audit) put(ctx context.Context, at end, lines []byte) error {
	it := key(kindLine+a.chain(), digits(int64(at.after.Seq+1)))
	it[attrLine] = text(string(lines))
	it[attrMAC] = blob(a.mac(at.next, []byte(rand.Text()[:nonceSize]), lines))
	s := Store{API: a.API, Table: a.Table}
	err := s.putIf(ctx, it, ifVersion(0))
	if !isCondition(err) {
		return err
	}
	a.fresh = time.Time{}
	// The SDK repeats a request whose answer was lost.
	there, err := s.get(ctx, it.text(attrPK), it.text(attrSK))
	if err == nil && !bytes.Equal(there.bytes(attrMAC), it.bytes(attrMAC)) {
		err = rotate.ErrConflict
	}
	return err
}

// move names the new end of the chain, if the item still is as it was read.
func (a *Audit) move(ctx context.Context, from end, to audit.Tail) error {
	if from.there && from.Tail == to && from.gap == "" {
		a.known, a.late = from, time.Time{} // another process was faster
		return nil
	}
	if a.Sealer == nil {
		return seal.ErrKeyMissing
	}
	next := end{Tail: to, there: true, next: from.next, after: to}
	if len(next.next) == 0 { // it stays the same: a block may be on its way while the end moves
		next.next = make([]byte, sha256.Size)
		_, _ = rand.Read(next.next) // never fails
	}
	raw, err := json.Marshal(proof{to, next.next})
	if err != nil {
		return err
	}
	if next.sealed, err = a.Sealer.Seal(ctx, raw, a.aad()); err != nil {
		return fmt.Errorf("sealing the end of the audit log: %w", err)
	}
	it := key(kindTail, a.chain())
	it[attrSeq], it[attrHash], it[attrSealed] = number(int64(to.Seq)), text(to.Hash), blob(next.sealed)
	c := ifVersion(0)
	if from.there {
		c = &condition{
			expression: "#seq = :seq AND #hash = :hash AND #sealed = :sealed",
			names:      names{"#seq": attrSeq, "#hash": attrHash, "#sealed": attrSealed},
			values:     item{":seq": number(int64(from.Seq)), ":hash": text(from.Hash), ":sealed": blob(from.sealed)},
		}
	}
	s := Store{API: a.API, Table: a.Table}
	if err := s.putIf(ctx, it, c); err != nil {
		a.fresh = time.Time{}
		if isCondition(err) {
			return rotate.ErrConflict
		}
		return err
	}
	a.known, a.fresh, a.late = next, a.now().Add(endFresh), time.Time{}
	return nil
}

// block reads the block whose first line has that number, nothing if there is
// none.
func (a *Audit) block(ctx context.Context, first uint64) (block, error) {
	s := Store{API: a.API, Table: a.Table}
	it, err := s.get(ctx, kindLine+a.chain(), digits(int64(first)))
	if err != nil || it == nil {
		return block{}, err
	}
	return decodeBlock(it)
}

// last reads the last block, nothing if there is none.
func (a *Audit) last(ctx context.Context) (b block, err error) {
	s := Store{API: a.API, Table: a.Table}
	in := ofKind(kindLine + a.chain())
	in.ScanIndexForward, in.Limit = aws.Bool(false), aws.Int32(1)
	err = s.query(ctx, in, func(it item) (bool, error) {
		b, err = decodeBlock(it)
		return false, err
	})
	return b, err
}

func decodeBlock(it item) (b block, err error) {
	b.first, err = strconv.ParseUint(it.text(attrSK), 10, 64)
	if err != nil {
		return block{}, fmt.Errorf("line %q: %w", it.text(attrSK), content.ErrCorrupt)
	}
	b.lines, b.mac = []byte(it.text(attrLine)), it.bytes(attrMAC)
	b.end.Seq = b.first
	body := bytes.TrimSuffix(b.lines, []byte("\n"))
	line := body[bytes.LastIndexByte(body, '\n')+1:]
	// An unreadable line has no hash to go on from; the break stays visible.
	if l, err := audit.ParseLine(line); err == nil {
		b.end = audit.Tail{Seq: max(l.Seq, b.first), Hash: l.Hash}
	}
	return b, nil
}

// follows reports whether the block was put after that end, and what follows it,
// by a process that has the key.
func (a *Audit) follows(at end, b block) bool {
	if at.gap != "" || len(at.next) == 0 || b.first != at.after.Seq+1 || len(b.mac) < nonceSize ||
		!hmac.Equal(b.mac, a.mac(at.next, b.mac[:nonceSize], b.lines)) {
		return false
	}
	to, err := audit.VerifyBetween(bytes.NewReader(b.lines), at.after, audit.Tail{})
	return err == nil && to == b.end
}

// nonceSize is the length of what tells a block from the same one put by
// another process.
const nonceSize = 8

// mac proves a block: nonce and HMAC-SHA256.
func (a *Audit) mac(key, nonce, lines []byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, b := range [][]byte{[]byte(a.chain()), {0}, nonce, lines} {
		_, _ = h.Write(b) // never fails
	}
	return h.Sum(bytes.Clone(nonce))
}
