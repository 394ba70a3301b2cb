package dynamodb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// Load implements [rotate.Store].
func (s *Store) Load(ctx context.Context, user string) (rotate.Entry, error) {
	e, err := s.load(ctx, user, true)
	if err != nil {
		return rotate.Entry{}, explain(fmt.Sprintf("loading %q", user), s.Table, err)
	}
	return e, nil
}

// Peek is Load at half the price: what was saved within the last second may be
// missing.
func (s *Store) Peek(ctx context.Context, user string) (rotate.Entry, error) {
	e, err := s.load(ctx, user, false)
	if err != nil {
		return rotate.Entry{}, explain(fmt.Sprintf("looking at %q", user), s.Table, err)
	}
	return e, nil
}

func (s *Store) load(ctx context.Context, user string, consistent bool) (rotate.Entry, error) {
	if s.Sealer == nil {
		return rotate.Entry{}, seal.ErrKeyMissing
	}
	began := time.Now()
	it, err := s.read(ctx, kindEntry, user, consistent)
	if err != nil {
		return rotate.Entry{}, err
	}
	if it[attrVersion] == nil {
		s.due.forget(user)
		return rotate.Entry{}, rotate.ErrNotFound
	}
	if consistent {
		s.noteItem(began, it)
	}
	e, err := decode(it)
	if err != nil {
		return e, err
	}
	if sealed := it.bytes(attrSealed); sealed != nil {
		e.Secrets, err = content.OpenTogether(ctx, s.Sealer, &s.kept, e.Record, sealed)
	} else { // none, or as earlier versions wrote them
		e.Secrets, err = content.OpenSecrets(ctx, s.Sealer, e.Record, it.bytes(attrSecrets))
	}
	return e, err
}

// creates reports whether the user's item says that only a new key is due. Items
// of earlier versions do not know.
func creates(it item) bool { return it.number(attrCreates) == 1 }

// decode reads an entry without its secrets.
func decode(it item) (e rotate.Entry, err error) {
	e.Version, e.Due, e.Creates = it.number(attrVersion), content.Time(it.dueNanos()), creates(it)
	record, err := recordOf(it)
	if err == nil {
		e.Record, err = content.DecodeRecord(record, it.text(attrSK))
	}
	return e, err
}

// Save implements [rotate.Store].
func (s *Store) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	v, err := s.save(ctx, e)
	if err != nil {
		return 0, explain(fmt.Sprintf("saving %q", e.Record.User), s.Table, err)
	}
	return v, nil
}

func (s *Store) save(ctx context.Context, e rotate.Entry) (int64, error) {
	user := e.Record.User
	if user == "" {
		return 0, errors.New("record without a user")
	}
	record, err := json.Marshal(e.Record)
	if err != nil {
		return 0, err
	}
	set := item{attrSealed: nil, attrSecrets: nil, attrExpires: nil} // it may have been an item without an entry
	var sealed []byte
	if len(e.Secrets) > 0 {
		if sealed, err = content.SealTogether(ctx, s.Sealer, &s.kept, e); err != nil {
			return 0, err
		}
		set[attrSealed] = blob(sealed)
	} else {
		none, err := content.SealSecrets(ctx, s.Sealer, e)
		if err != nil {
			return 0, err
		}
		set[attrSecrets] = blob(none)
	}
	setRecord(set, user, record, sealed)
	due := dueTime{nanos: content.Nanos(e.Due), creates: e.Creates}
	set[attrDue], set[attrCreates] = text(dueKey(due.nanos, user)), number(0)
	if e.Creates {
		set[attrCreates] = number(1)
	}
	set[attrQueue] = nil
	if due.queue = s.due.queue(user, due.nanos, e.Version, e.Creates); due.queue != "" {
		set[attrQueue] = text(due.queue)
	}
	next, err := s.put(ctx, user, set, e)
	if err == nil {
		due.version, due.at = next, time.Now()
		s.due.note(user, due)
	}
	return next, err
}

// put writes an entry's attributes if its version still is e's, and gives the
// lease of e.Leave up. An error of a condition that our own write, whose answer
// was lost, made false is none.
func (s *Store) put(ctx context.Context, user string, set item, e rotate.Entry) (int64, error) {
	next := newVersion()
	set[attrVersion] = number(next)
	c := &condition{expression: "attribute_not_exists(#version)", names: names{"#version": attrVersion}, values: item{}}
	if e.Version != 0 {
		c = ifVersion(e.Version)
	}
	left := maps.Clone(set)
	if e.Leave != "" {
		left[attrOwner], left[attrEnds] = nil, nil
		c.expression += " AND #owner = :owner"
		c.names["#owner"], c.values[":owner"] = attrOwner, ownerOf(e.Leave)
	}
	_, err := s.update(ctx, key(kindEntry, user), left, c)
	is, ok := refused(err)
	switch {
	case !ok:
	case is.number(attrVersion) == next:
		err = nil
	case e.Leave != "" && is.number(attrVersion) == e.Version: // the lease is another's by now: it stays
		e.Leave = ""
		return s.put(ctx, user, set, e)
	default:
		err = rotate.ErrConflict
	}
	if err != nil {
		return 0, err
	}
	return next, nil
}

// Remove implements [rotate.Store].
func (s *Store) Remove(ctx context.Context, user string, version int64) error {
	err := s.remove(ctx, user, version)
	if err == nil {
		s.due.forget(user)
	}
	return explain(fmt.Sprintf("removing %q", user), s.Table, err)
}

// remove leaves an item with the lease, which somebody may hold.
func (s *Store) remove(ctx context.Context, user string, version int64) error {
	_, err := s.update(ctx, key(kindEntry, user), item{
		attrVersion: nil, attrRecord: nil, attrPacked: nil, attrSealed: nil, attrSecrets: nil, attrQueue: nil, attrDue: nil,
		attrExpires: keepUntil(time.Now(), goneLinger, 0),
	}, ifVersion(version))
	if is, ok := refused(err); ok {
		err = nil
		if is[attrVersion] != nil {
			err = rotate.ErrConflict
		} // or it is gone: the SDK repeats a request whose answer was lost
	}
	return err
}

// List implements [rotate.Store]. It does not need the key.
func (s *Store) List(ctx context.Context) ([]rotate.Entry, error) {
	return s.list(ctx, true)
}

// Changes implements [rotate.Store]. A table cannot tell what was changed: it
// reads everything, at half the price of List, because what was saved within
// the last second or so may be missing.
func (s *Store) Changes(ctx context.Context, _ int64) (rotate.Changes, error) {
	all, err := s.list(ctx, false)
	return rotate.Changes{Entries: all, Whole: true, Costly: true}, err
}

func (s *Store) list(ctx context.Context, consistent bool) ([]rotate.Entry, error) {
	var out []rotate.Entry
	at := time.Now()
	if !consistent {
		at = at.Add(-lag)
	}
	in := ofKind(kindEntry, attrPK, attrSK, attrVersion, attrQueue, attrDue, attrCreates, attrRecord, attrPacked)
	in.ConsistentRead = aws.Bool(consistent)
	err := s.query(ctx, in, func(it item) (bool, error) {
		if it[attrVersion] == nil {
			return true, nil
		}
		s.noteItem(at, it)
		e, err := decode(it)
		if err != nil {
			e = rotate.Unreadable(it.text(attrSK), e.Version, e.Due, err)
		}
		out = append(out, e)
		return true, nil
	})
	if err != nil {
		return nil, explain("listing the store", s.Table, err)
	}
	s.due.all(at)
	return out, nil
}
