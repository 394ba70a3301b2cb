package dynamodb

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// update changes some attributes of the item with that key: those that are nil
// are removed, others are left alone. It returns the whole item after that, or
// refusedError with the item as it is if c does not hold.
func (s *Store) update(ctx context.Context, at item, set item, c *condition) (item, error) {
	n, values := maps.Clone(c.names), maps.Clone(c.values)
	var sets, removes []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		n["#"+name] = name
		if set[name] == nil {
			removes = append(removes, "#"+name)
			continue
		}
		values[":new_"+name] = set[name]
		sets = append(sets, "#"+name+" = :new_"+name)
	}
	var clauses []string
	if len(sets) > 0 {
		clauses = append(clauses, "SET "+strings.Join(sets, ", "))
	}
	if len(removes) > 0 {
		clauses = append(clauses, "REMOVE "+strings.Join(removes, ", "))
	}
	if len(values) == 0 {
		values = nil // DynamoDB refuses an empty map
	}
	out, err := s.API.UpdateItem(ctx, &ddb.UpdateItemInput{
		TableName: &s.Table, Key: at, UpdateExpression: aws.String(strings.Join(clauses, " ")), ConditionExpression: &c.expression,
		ExpressionAttributeNames: n, ExpressionAttributeValues: values, ReturnValues: types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if refused, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		return nil, &refusedError{refused.Item}
	}
	if err != nil {
		return nil, err
	}
	return out.Attributes, nil
}

// refusedError is that a condition does not hold, for the item as it is: nil if
// there is none.
type refusedError struct{ is item }

func (*refusedError) Error() string { return "the condition does not hold" }

// refused returns the item that a condition did not hold for.
func refused(err error) (is item, ok bool) {
	if e, ok := errors.AsType[*refusedError](err); ok {
		return e.is, true
	}
	return nil, false
}
