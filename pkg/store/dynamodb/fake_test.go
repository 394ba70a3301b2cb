package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// fake is a table that knows as much of DynamoDB's expressions as the package
// uses. The real thing is asked by the end-to-end tests.
type fake struct {
	mu    sync.Mutex
	items map[string]item // by pk, \x00, sk

	// fault is asked before and after each call that writes; an error it
	// returns is what the caller gets.
	fault func(call string, after bool) error
}

func newFake() *fake { return &fake{items: map[string]item{}} }

func (f *fake) api() API {
	return API{
		GetItem: f.get, PutItem: f.put, UpdateItem: f.update, DeleteItem: f.delete,
		Query: f.query,
	}
}

var errMissing = &types.ConditionalCheckFailedException{}

func place(it item) string { return it.text(attrPK) + "\x00" + it.text(attrSK) }

// write runs do between the faults, under the lock.
func (f *fake) write(ctx context.Context, call string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, after := range []bool{false, true} {
		if f.fault != nil {
			if err := f.fault(call, after); err != nil {
				return err
			}
		}
		if after {
			break
		}
		f.mu.Lock()
		err := do()
		f.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) get(ctx context.Context, in *ddb.GetItemInput, _ ...func(*ddb.Options)) (*ddb.GetItemOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in.ConsistentRead == nil {
		return nil, errors.New("a read that does not say how consistent it is")
	}
	return &ddb.GetItemOutput{Item: maps.Clone(f.items[place(in.Key)])}, ctx.Err()
}

func (f *fake) put(ctx context.Context, in *ddb.PutItemInput, _ ...func(*ddb.Options)) (*ddb.PutItemOutput, error) {
	return &ddb.PutItemOutput{}, f.write(ctx, "PutItem", func() error {
		if !holds(f.items[place(in.Item)], in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues) {
			return errMissing
		}
		f.items[place(in.Item)] = maps.Clone(in.Item)
		return nil
	})
}

func (f *fake) delete(ctx context.Context, in *ddb.DeleteItemInput, _ ...func(*ddb.Options)) (*ddb.DeleteItemOutput, error) {
	return &ddb.DeleteItemOutput{}, f.write(ctx, "DeleteItem", func() error {
		if !holds(f.items[place(in.Key)], in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues) {
			return errMissing
		}
		delete(f.items, place(in.Key))
		return nil
	})
}

func (f *fake) update(ctx context.Context, in *ddb.UpdateItemInput, _ ...func(*ddb.Options)) (*ddb.UpdateItemOutput, error) {
	out := &ddb.UpdateItemOutput{}
	return out, f.write(ctx, "UpdateItem", func() error {
		it := f.items[place(in.Key)]
		if !holds(it, in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues) {
			refused := &types.ConditionalCheckFailedException{}
			if in.ReturnValuesOnConditionCheckFailure == types.ReturnValuesOnConditionCheckFailureAllOld {
				refused.Item = maps.Clone(it)
			}
			return refused
		}
		if it = maps.Clone(it); it == nil {
			it = maps.Clone(item(in.Key))
		}
		sets, removes, _ := strings.Cut(*in.UpdateExpression, "REMOVE ")
		for name := range strings.SplitSeq(removes, ", ") {
			delete(it, in.ExpressionAttributeNames[name])
		}
		for set := range strings.SplitSeq(strings.TrimSpace(strings.TrimPrefix(sets, "SET ")), ", #") {
			name, value, some := strings.Cut("#"+strings.TrimPrefix(set, "#"), " = ")
			if !some {
				continue
			}
			name = in.ExpressionAttributeNames[name]
			if rest, ok := strings.CutPrefix(value, "if_not_exists("); ok {
				_, value, _ = strings.Cut(strings.TrimSuffix(rest, ")"), ", ")
				if it[name] != nil {
					continue
				}
			}
			it[name] = in.ExpressionAttributeValues[value]
		}
		f.items[place(in.Key)] = it
		if in.ReturnValues == types.ReturnValueAllNew {
			out.Attributes = maps.Clone(it)
		}
		return nil
	})
}

func (f *fake) query(ctx context.Context, in *ddb.QueryInput, _ ...func(*ddb.Options)) (*ddb.QueryOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	by := attrSK
	if in.IndexName != nil {
		by = attrDue
	}
	var found []item
	for _, it := range f.items {
		if holds(it, in.KeyConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues) {
			found = append(found, it)
		}
	}
	slices.SortFunc(found, func(a, b item) int { return strings.Compare(a.text(by), b.text(by)) })
	if in.ScanIndexForward != nil && !*in.ScanIndexForward {
		slices.Reverse(found)
	}
	if in.ExclusiveStartKey != nil {
		i := slices.IndexFunc(found, func(it item) bool { return place(it) == place(in.ExclusiveStartKey) })
		found = found[i+1:]
	}
	out := &ddb.QueryOutput{}
	if n := int(aws.ToInt32(in.Limit)); n > 0 && len(found) > n {
		found = found[:n]
		out.LastEvaluatedKey = key(found[n-1].text(attrPK), found[n-1].text(attrSK))
	}
	for _, it := range found {
		c := maps.Clone(it)
		if in.ProjectionExpression != nil {
			only := slices.Collect(maps.Values(in.ExpressionAttributeNames))
			maps.DeleteFunc(c, func(name string, _ types.AttributeValue) bool { return !slices.Contains(only, name) })
		}
		out.Items = append(out.Items, c)
	}
	return out, ctx.Err()
}

// holds evaluates a condition: terms joined by OR, or by AND.
func holds(it item, expression *string, n names, values item) bool {
	if expression == nil {
		return true
	}
	for alternative := range strings.SplitSeq(*expression, " OR ") {
		all := true
		for term := range strings.SplitSeq(alternative, " AND ") {
			all = all && term1(it, term, n, values)
		}
		if all {
			return true
		}
	}
	return false
}

func term1(it item, term string, n names, values item) bool {
	if rest, ok := strings.CutPrefix(term, "attribute_not_exists("); ok {
		return it[n[strings.TrimSuffix(rest, ")")]] == nil
	}
	if rest, ok := strings.CutPrefix(term, "attribute_exists("); ok {
		return it[n[strings.TrimSuffix(rest, ")")]] != nil
	}
	if rest, ok := strings.CutPrefix(term, "begins_with("); ok {
		name, value, _ := strings.Cut(strings.TrimSuffix(rest, ")"), ", ")
		return strings.HasPrefix(it.text(n[name]), values.text(value))
	}
	p := strings.Fields(term)
	got, want := it[n[p[0]]], values[p[2]]
	if got == nil {
		return false
	}
	c := compare(got, want)
	return p[1] == "=" && c == 0 || p[1] == "<" && c < 0 || p[1] == "<=" && c <= 0
}

func compare(a, b types.AttributeValue) int {
	if x, ok := a.(*types.AttributeValueMemberN); ok {
		i, _ := strconv.ParseInt(x.Value, 10, 64)
		j, _ := strconv.ParseInt(b.(*types.AttributeValueMemberN).Value, 10, 64)
		return int(min(1, max(-1, i-j)))
	}
	if x, ok := a.(*types.AttributeValueMemberB); ok {
		return bytes.Compare(x.Value, b.(*types.AttributeValueMemberB).Value)
	}
	return strings.Compare(a.(*types.AttributeValueMemberS).Value, b.(*types.AttributeValueMemberS).Value)
}

// once returns a fault that hits the nth call of a kind, before or after it
// takes effect.
func once(t *testing.T, call string, n int, after bool, err error) func(string, bool) error {
	t.Helper()
	var mu sync.Mutex
	return func(c string, a bool) error {
		mu.Lock()
		defer mu.Unlock()
		if c != call || a != after {
			return nil
		}
		if n--; n == 0 {
			return err
		}
		return nil
	}
}
