package dynamodb

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// The attributes. Times are Unix nanoseconds unless said otherwise.
const (
	attrPK      = "pk"      // the item's kind
	attrSK      = "sk"      // its name within the kind
	attrQueue   = "queue"   // hash key of the due index, on entries that became due earlier than was known
	attrDue     = "due"     // its range key: 19 digits of time, #, user
	attrCreates = "creates" // 1: a new key is all that is due
	attrExpires = "expires" // Unix seconds; DynamoDB deletes the item some time after

	attrVersion = "version"
	attrRecord  = "record"  // plan.Record as JSON
	attrPacked  = "packed"  // the same compressed, if it is long
	attrSecrets = "secrets" // of entries without sealed: JSON object, access key id to sealed secret
	attrSealed  = "sealed"  // the envelope of an entry's secrets, of a setting, or of an end's proof
	attrOwner   = "owner"   // of an entry's lease: see ownerOf
	attrEnds    = "ends"    // the lease
	attrUser    = "user"
	attrCaller  = "caller"
	attrKey     = "key"
	attrAddr    = "addr"
	attrFirst   = "first"
	attrLast    = "last"
	attrSeq     = "seq"
	attrHash    = "hash"
	attrLine    = "line"
	attrMAC     = "mac"
)

// The kinds. Those that end in # are followed by what they belong to.
const (
	kindEntry   = "entry"    // sk: user; without a version it holds a lease only
	kindSetting = "setting"  // sk: name
	kindHolder  = "holder#"  // user; sk: caller. The latest hand-out
	kindHandout = "handout#" // key; sk: user#caller
	kindTail    = "audit"    // sk: chain
	kindLine    = "audit#"   // chain; sk: 19 digits of the first line's number
)

// indexDue is the index; its hash keys are the queues of users for whom only a
// new key is due, and of all others.
const (
	indexDue    = "due"
	queueDue    = "due"
	queueCreate = "create"
)

func queueOf(creates bool) string {
	if creates {
		return queueCreate
	}
	return queueDue
}

// Schema is how the table must look. Time to live must also be switched on,
// for the attribute [TTLAttribute].
func Schema(table string) *ddb.CreateTableInput {
	attr := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS}
	}
	keys := func(hash, sort string) []types.KeySchemaElement {
		return []types.KeySchemaElement{
			{AttributeName: aws.String(hash), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String(sort), KeyType: types.KeyTypeRange},
		}
	}
	return &ddb.CreateTableInput{
		TableName:            &table,
		BillingMode:          types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{attr(attrPK), attr(attrSK), attr(attrQueue), attr(attrDue)},
		KeySchema:            keys(attrPK, attrSK),
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName:  aws.String(indexDue),
			KeySchema:  keys(attrQueue, attrDue),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
		}},
	}
}

// TTLAttribute holds when DynamoDB may delete an item, in Unix seconds.
const TTLAttribute = attrExpires

type names = map[string]string

// item is an item, or the values of an expression.
type item map[string]types.AttributeValue

func key(kind, id string) item { return item{attrPK: text(kind), attrSK: text(id)} }

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func blob(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// text returns a text attribute, "" if there is none.
func (it item) text(name string) string {
	if v, ok := it[name].(*types.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

// number returns a number attribute, 0 if there is none.
func (it item) number(name string) int64 {
	if v, ok := it[name].(*types.AttributeValueMemberN); ok {
		n, _ := strconv.ParseInt(v.Value, 10, 64)
		return n
	}
	return 0
}

func (it item) bytes(name string) []byte {
	if v, ok := it[name].(*types.AttributeValueMemberB); ok {
		return v.Value
	}
	return nil
}

// project names the attributes to read; nil is all.
func project(only []string) (*string, names) {
	if len(only) == 0 {
		return nil, nil
	}
	n := make(names, len(only))
	marks := make([]string, len(only))
	for i, name := range only {
		marks[i] = "#" + name
		n[marks[i]] = name
	}
	return aws.String(strings.Join(marks, ",")), n
}

// digits writes a number that is not negative so that text sorts as numbers
// do.
func digits(n int64) string { return fmt.Sprintf("%019d", n) }

// dueKey orders users by due time, then name.
func dueKey(nanos int64, user string) string { return digits(nanos) + "#" + user }

// dueBound is after all keys up to nanos and before all later ones.
func dueBound(nanos int64) string {
	if nanos == math.MaxInt64 {
		return "~"
	}
	return digits(nanos + 1)
}

// dueNanos takes the time out of the due index's key.
func (it item) dueNanos() int64 {
	d, _, _ := strings.Cut(it.text(attrDue), "#")
	n, _ := strconv.ParseInt(d, 10, 64)
	return n
}
