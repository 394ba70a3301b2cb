package dynamodb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// leaseLinger is how long the item of an ended lease is kept: an acquisition
// looks at its end, not at whether it is there.
const leaseLinger = 24 * time.Hour

// Load implements [rotate.Store].
func (s *Store) Load(ctx context.Context, user string) (rotate.Entry, error) {
	e, err := s.load(ctx, user)
	if err != nil {
		return rotate.Entry{}, explain(fmt.Sprintf("loading %q", user), s.Table, err)
	}
	return e, nil
}

func (s *Store) load(ctx context.Context, user string) (rotate.Entry, error) {
	if s.Sealer == nil {
		return rotate.Entry{}, seal.ErrKeyMissing
	}
	it, err := s.get(ctx, kindEntry, user)
	if err != nil {
		return rotate.Entry{}, err
	}
	if it == nil {
		return rotate.Entry{}, rotate.ErrNotFound
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

// decode reads an entry without its secrets.
func decode(it item) (e rotate.Entry, err error) {
	e.Version, e.Due, e.Creates = it.number(attrVersion), content.Time(it.dueNanos()), it.text(attrQueue) == queueCreate
	e.Record, err = content.DecodeRecord([]byte(it.text(attrRecord)), it.text(attrSK))
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
	it := key(kindEntry, user)
	if len(e.Secrets) > 0 {
		sealed, err := content.SealTogether(ctx, s.Sealer, &s.kept, e)
		if err != nil {
			return 0, err
		}
		it[attrSealed] = blob(sealed)
	} else {
		none, err := content.SealSecrets(ctx, s.Sealer, e)
		if err != nil {
			return 0, err
		}
		it[attrSecrets] = blob(none)
	}
	it[attrQueue] = text(queueOf(e.Creates))
	it[attrDue] = text(dueKey(content.Nanos(e.Due), user))
	it[attrRecord] = text(string(record))
	return s.write(ctx, it, e.Version)
}

// Remove implements [rotate.Store].
func (s *Store) Remove(ctx context.Context, user string, version int64) error {
	return explain(fmt.Sprintf("removing %q", user), s.Table, s.erase(ctx, kindEntry, user, version))
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
	in := ofKind(kindEntry, attrPK, attrSK, attrVersion, attrQueue, attrDue, attrRecord)
	in.ConsistentRead = aws.Bool(consistent)
	err := s.query(ctx, in, func(it item) (bool, error) {
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
	return out, nil
}

// Due implements [rotate.Store]. It does not need the key. Users saved within
// the last second or so may be missing, or be found where they were.
func (s *Store) Due(ctx context.Context, t time.Time, creates bool, limit int) ([]string, error) {
	if limit <= 0 {
		return nil, nil
	}
	var out []string
	in := &ddb.QueryInput{
		IndexName:                 aws.String(indexDue),
		Limit:                     aws.Int32(int32(min(limit, 1000))),
		KeyConditionExpression:    aws.String("#queue = :queue AND #due < :bound"),
		ExpressionAttributeNames:  names{"#queue": attrQueue, "#due": attrDue},
		ExpressionAttributeValues: item{":queue": text(queueOf(creates)), ":bound": text(dueBound(content.Nanos(t)))},
	}
	err := s.query(ctx, in, func(it item) (bool, error) {
		out = append(out, it.text(attrSK))
		return len(out) < limit, nil
	})
	if err != nil {
		return nil, explain("reading what is due", s.Table, err)
	}
	return out, nil
}

// Acquire implements [rotate.Store].
func (s *Store) Acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) error {
	it := key(kindLease, user)
	it[attrOwner], it[attrEnds] = text(owner), number(content.Nanos(now.Add(ttl)))
	it[attrExpires] = keepUntil(now.Add(ttl), leaseLinger, 0)
	_, err := s.API.PutItem(ctx, &ddb.PutItemInput{
		TableName: &s.Table, Item: it,
		ConditionExpression:       aws.String("attribute_not_exists(#pk) OR #owner = :owner OR #ends <= :now"),
		ExpressionAttributeNames:  names{"#pk": attrPK, "#owner": attrOwner, "#ends": attrEnds},
		ExpressionAttributeValues: item{":owner": text(owner), ":now": number(content.Nanos(now))},
	})
	if isCondition(err) {
		err = rotate.ErrLeased
	}
	return explain(fmt.Sprintf("leasing %q", user), s.Table, err)
}

// Release implements [rotate.Store].
func (s *Store) Release(ctx context.Context, user, owner string) error {
	_, err := s.API.DeleteItem(ctx, &ddb.DeleteItemInput{
		TableName: &s.Table, Key: key(kindLease, user),
		ConditionExpression:       aws.String("#owner = :owner"),
		ExpressionAttributeNames:  names{"#owner": attrOwner},
		ExpressionAttributeValues: item{":owner": text(owner)},
	})
	if isCondition(err) {
		err = nil // somebody else's, or nobody's
	}
	return explain(fmt.Sprintf("releasing %q", user), s.Table, err)
}
