// Package dynamodb is the store for many machines: one DynamoDB table that any
// number of daemons and functions share. It implements rotate.Store,
// rotate.Settings, rotate.Handouts and, as a hash chain, rotate.Audit.
//
// Records and settings are read strongly consistent and written on condition
// of the version that was read. A user's lease is a part of its entry, and most due
// times are known from memory (due.go): what others saved may be missing from Due
// for a minute, never for good. Why so: docs/adr/0027-a-cheaper-table.md.
//
// The record is in the clear, compressed if it is long; secrets and settings are
// sealed, bound to the user and key they belong to.
package dynamodb

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyrot/keyrot/internal/awsanswer"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// operation is a method of the SDK's client.
type operation[In, Out any] = func(context.Context, *In, ...func(*ddb.Options)) (*Out, error)

// API is the part of the SDK's client that this package calls. It is a struct
// of funcs because a client stored in an interface keeps all its methods in
// the binary.
type API struct {
	GetItem    operation[ddb.GetItemInput, ddb.GetItemOutput]
	PutItem    operation[ddb.PutItemInput, ddb.PutItemOutput]
	UpdateItem operation[ddb.UpdateItemInput, ddb.UpdateItemOutput]
	DeleteItem operation[ddb.DeleteItemInput, ddb.DeleteItemOutput]
	Query      operation[ddb.QueryInput, ddb.QueryOutput]

	// For [Store.Describe] only.
	DescribeTable             operation[ddb.DescribeTableInput, ddb.DescribeTableOutput]
	DescribeTimeToLive        operation[ddb.DescribeTimeToLiveInput, ddb.DescribeTimeToLiveOutput]
	DescribeContinuousBackups operation[ddb.DescribeContinuousBackupsInput, ddb.DescribeContinuousBackupsOutput]
}

// NewAPI returns the API of the SDK configuration as it is. Requests carry
// "keyrot" in the User-Agent; throttled ones are repeated by the SDK.
func NewAPI(cfg aws.Config) API {
	cfg = awsanswer.Require(cfg)
	cfg.APIOptions = append(cfg.APIOptions, middleware.AddUserAgentKey("keyrot"))
	c := ddb.NewFromConfig(cfg)
	return metered(API{
		GetItem: c.GetItem, PutItem: c.PutItem, UpdateItem: c.UpdateItem, DeleteItem: c.DeleteItem,
		Query: c.Query, DescribeTable: c.DescribeTable, DescribeTimeToLive: c.DescribeTimeToLive,
		DescribeContinuousBackups: c.DescribeContinuousBackups,
	})
}

// Store is a store in a table that looks as [Schema] says. It is safe for
// concurrent use.
type Store struct {
	API   API
	Table string
	// Sealer seals secrets and settings. Nil: they can be neither read nor
	// written (seal.ErrKeyMissing), everything else works.
	Sealer seal.Sealer
	// Keep is how long it is remembered that a caller was given a key, from
	// its latest hand-out on. Zero: 400 days; negative: for ever.
	Keep time.Duration
	// PageSize bounds the items of one page of a listing. Zero: 1 MB each.
	PageSize int32

	recent content.Recent
	kept   content.Kept
	due    known
}

var (
	_ rotate.Store    = (*Store)(nil)
	_ rotate.Settings = (*Store)(nil)
	_ rotate.Handouts = (*Store)(nil)
)

// defaultKeep is a little more than the year that auditors look back.
const defaultKeep = 400 * 24 * time.Hour

// Ping reports whether the table can be read, for health checks.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.get(ctx, kindSetting, "ping", attrVersion)
	return explain("reading the store", s.Table, err)
}

// get reads one item, strongly consistent; nil if there is none. only narrows
// it to some attributes.
func (s *Store) get(ctx context.Context, kind, id string, only ...string) (item, error) {
	return s.read(ctx, kind, id, true, only...)
}

// read reads one item. Unless consistent, what was written within the last
// second may be missing, at half the price.
func (s *Store) read(ctx context.Context, kind, id string, consistent bool, only ...string) (item, error) {
	in := &ddb.GetItemInput{TableName: &s.Table, Key: key(kind, id), ConsistentRead: aws.Bool(consistent)}
	in.ProjectionExpression, in.ExpressionAttributeNames = project(only)
	out, err := s.API.GetItem(ctx, in)
	if err != nil {
		return nil, err
	}
	return out.Item, nil
}

// query calls each for every item that in finds, page by page, until it says
// that it has enough.
func (s *Store) query(ctx context.Context, in *ddb.QueryInput, each func(item) (more bool, err error)) error {
	in.TableName = &s.Table
	if s.PageSize > 0 {
		in.Limit = aws.Int32(s.PageSize)
	}
	for {
		out, err := s.API.Query(ctx, in)
		if err != nil {
			return err
		}
		for _, it := range out.Items {
			if more, err := each(it); err != nil || !more {
				return err
			}
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// ofKind asks for all items of a kind in order, strongly consistent. only
// narrows them to some attributes, among them pk.
func ofKind(kind string, only ...string) *ddb.QueryInput {
	in := &ddb.QueryInput{
		KeyConditionExpression:    aws.String("#pk = :kind"),
		ExpressionAttributeNames:  names{"#pk": attrPK},
		ExpressionAttributeValues: item{":kind": text(kind)},
		ConsistentRead:            aws.Bool(true),
	}
	if len(only) > 0 {
		in.ProjectionExpression, in.ExpressionAttributeNames = project(only)
	}
	return in
}

// newVersion returns a version that was never used, but for a chance of one
// in 2⁶²; it also tells this write from any other.
func newVersion() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return int64(binary.BigEndian.Uint64(b[:])>>2) + 1
}

// ifVersion is the condition that an item has the version, 0 that there is no
// item.
func ifVersion(version int64) *condition {
	if version == 0 {
		return &condition{expression: "attribute_not_exists(#pk)", names: names{"#pk": attrPK}}
	}
	return &condition{
		expression: "#version = :was",
		names:      names{"#version": attrVersion},
		values:     item{":was": number(version)},
	}
}

type condition struct {
	expression string
	names      names
	values     item
}

// write puts the setting's item if its version still is version. An error of a
// condition that our own write, whose answer was lost, made false is none.
func (s *Store) write(ctx context.Context, it item, version int64) (int64, error) {
	next := newVersion()
	it[attrVersion] = number(next)
	err := s.putIf(ctx, it, ifVersion(version))
	if isCondition(err) {
		there, gerr := s.get(ctx, it.text(attrPK), it.text(attrSK), attrVersion)
		if gerr != nil {
			return 0, gerr
		}
		if there.number(attrVersion) != next {
			return 0, rotate.ErrConflict
		}
		err = nil
	}
	if err != nil {
		return 0, err
	}
	return next, nil
}

// putIf puts the item on the condition.
func (s *Store) putIf(ctx context.Context, it item, c *condition) error {
	_, err := s.API.PutItem(ctx, &ddb.PutItemInput{
		TableName: &s.Table, Item: it, ConditionExpression: &c.expression,
		ExpressionAttributeNames: c.names, ExpressionAttributeValues: c.values,
	})
	return err
}

// erase deletes the item if its version still is version. An item that is gone
// is success: the SDK repeats a request whose answer was lost.
func (s *Store) erase(ctx context.Context, kind, id string, version int64) error {
	c := ifVersion(version)
	_, err := s.API.DeleteItem(ctx, &ddb.DeleteItemInput{
		TableName: &s.Table, Key: key(kind, id), ConditionExpression: &c.expression,
		ExpressionAttributeNames: c.names, ExpressionAttributeValues: c.values,
	})
	if !isCondition(err) {
		return err
	}
	there, err := s.get(ctx, kind, id, attrVersion)
	if err == nil && there != nil {
		err = rotate.ErrConflict
	}
	return err
}

// keepUntil is the TTL attribute of what is forgotten keep after t, or nil.
func keepUntil(t time.Time, keep, byDefault time.Duration) types.AttributeValue {
	switch {
	case keep < 0:
		return nil
	case keep == 0:
		keep = byDefault
	}
	return number(t.Add(keep).Unix())
}
