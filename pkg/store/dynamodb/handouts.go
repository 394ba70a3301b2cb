package dynamodb

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// RecordHandout implements [rotate.Handouts]. A caller that fetches the same
// key again and again costs two writes in 10 s. Two writes, not one
// transaction: the history first, then what Holders reads; both may be
// repeated.
func (s *Store) RecordHandout(ctx context.Context, caller, user, keyID, addr string, at time.Time) error {
	if s.recent.Repeats(caller, user, keyID, addr, at) {
		return nil
	}
	nanos := number(content.Nanos(at))
	values := item{attrUser: text(user), attrCaller: text(caller), attrKey: text(keyID), attrAddr: text(addr), attrLast: nanos}
	history := key(kindHandout+keyID, user+"#"+caller)
	expires := keepUntil(at, s.Keep, defaultKeep)
	for _, w := range []struct {
		key item
		set string
		add item
	}{
		{history, "#first = if_not_exists(#first, :last)", item{attrExpires: expires}},
		{key(kindHolder+user, caller), "", nil}, // no TTL: one item for each pair
	} {
		if err := s.recordHandout(ctx, w.key, w.set, values, w.add); err != nil {
			return explain("recording a hand-out", s.Table, err)
		}
	}
	s.recent.Note(caller, user, keyID, addr, at)
	return nil
}

// recordHandout sets the values, unless the item has later ones already.
func (s *Store) recordHandout(ctx context.Context, at item, set string, sets ...item) error {
	in := &ddb.UpdateItemInput{
		TableName: &s.Table, Key: at,
		ConditionExpression:       aws.String("attribute_not_exists(#pk) OR #last <= :last"),
		ExpressionAttributeNames:  names{"#pk": attrPK},
		ExpressionAttributeValues: item{},
	}
	if set != "" {
		in.ExpressionAttributeNames["#first"] = attrFirst
	}
	for _, values := range sets {
		for name, v := range values {
			if v == nil {
				continue
			}
			if set != "" {
				set += ", "
			}
			set += "#" + name + " = :" + name
			in.ExpressionAttributeNames["#"+name] = name
			in.ExpressionAttributeValues[":"+name] = v
		}
	}
	in.UpdateExpression = aws.String("SET " + set)
	_, err := s.API.UpdateItem(ctx, in)
	if isCondition(err) {
		return nil
	}
	return err
}

// Holders implements [rotate.Handouts].
func (s *Store) Holders(ctx context.Context, user, keyID string) ([]string, error) {
	var out []string
	err := s.query(ctx, ofKind(kindHolder+user), func(it item) (bool, error) {
		if it.text(attrKey) == keyID {
			out = append(out, it.text(attrSK))
		}
		return true, nil
	})
	if err != nil {
		return nil, explain("reading who holds a key", s.Table, err)
	}
	return out, nil
}

// WhoHas implements [rotate.Handouts].
func (s *Store) WhoHas(ctx context.Context, keyID string) ([]rotate.Handout, error) {
	var out []rotate.Handout
	err := s.query(ctx, ofKind(kindHandout+keyID), func(it item) (bool, error) {
		out = append(out, rotate.Handout{
			Caller: it.text(attrCaller), User: it.text(attrUser), Key: keyID, Addr: it.text(attrAddr),
			First: content.Time(it.number(attrFirst)), Last: content.Time(it.number(attrLast)),
		})
		return true, nil
	})
	if err != nil {
		return nil, explain("reading who was given a key", s.Table, err)
	}
	slices.SortFunc(out, func(a, b rotate.Handout) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Caller, b.Caller))
	})
	return out, nil
}
