package dynamodb

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyrot/keyrot/internal/cost"
	"github.com/keyrot/keyrot/pkg/seal/kmsseal"
)

// meter counts what DynamoDB and KMS bill, as the developer guide has it
// ("Read and write operations", "DynamoDB item sizes", "Using global secondary
// indexes"): a write by the larger of the item before and after, also if it is
// refused; a copy in the due index whose key changes as one deleted and one put.
type meter struct {
	cost.Operations

	mu   sync.Mutex
	what map[string]cost.Operations // by call and kind of item
}

// add counts one call.
func (m *meter) add(call string, o cost.Operations) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := func(a, b cost.Operations) cost.Operations {
		return cost.Operations{ReadUnits: a.ReadUnits + b.ReadUnits, WriteUnits: a.WriteUnits + b.WriteUnits, KMSCalls: a.KMSCalls + b.KMSCalls}
	}
	if m.what == nil {
		m.what = map[string]cost.Operations{}
	}
	m.Operations, m.what[call] = sum(m.Operations, o), sum(m.what[call], o)
}

// table is what was counted, a line for each kind of call, n times less.
func (m *meter) table(n float64) string {
	var b strings.Builder
	for _, call := range slices.Sorted(maps.Keys(m.what)) {
		o := m.what[call]
		fmt.Fprintf(&b, "\n%-30s reads %5.2f writes %5.2f KMS %4.2f", call, o.ReadUnits/n, o.WriteUnits/n, o.KMSCalls/n)
	}
	return b.String()
}

// size is what DynamoDB counts of an item, in bytes: names and values. A
// number takes a byte for two digits and one more.
func size(it item) (n float64) {
	for name, v := range it {
		n += float64(len(name))
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			n += float64(len(v.Value))
		case *types.AttributeValueMemberB:
			n += float64(len(v.Value))
		case *types.AttributeValueMemberN:
			n += float64(len(v.Value)/2 + 2)
		}
	}
	return n
}

func units(bytes, unit float64) float64 { return max(1, math.Ceil(bytes/unit)) }

// write counts a write that makes was into is; nil is no item.
func (m *meter) write(call string, was, is item) {
	kind, _, more := strings.Cut(max(was.text(attrPK), is.text(attrPK)), "#")
	if more {
		kind += "#"
	}
	m.add(call+" "+kind, cost.Operations{WriteUnits: units(max(size(was), size(is)), 1024)})
	index, indexed := 0.0, func(it item) string {
		if it[attrQueue] == nil {
			return ""
		}
		return it.text(attrDue)
	}
	if indexed(was) != indexed(is) {
		for _, it := range []item{was, is} {
			if indexed(it) != "" {
				index++
			}
		}
	}
	if index > 0 {
		m.add("due index", cost.Operations{WriteUnits: index})
	}
}

func (f *fake) item(at item) item {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.items[place(at)]
}

func (m *meter) api(f *fake) API {
	a := f.api()
	metered := a
	metered.GetItem = func(ctx context.Context, in *ddb.GetItemInput, o ...func(*ddb.Options)) (*ddb.GetItemOutput, error) {
		reads := units(size(f.item(in.Key)), 4096)
		if !*in.ConsistentRead {
			reads /= 2
		}
		m.add("GetItem "+item(in.Key).text(attrPK), cost.Operations{ReadUnits: reads})
		return a.GetItem(ctx, in, o...)
	}
	metered.PutItem = func(ctx context.Context, in *ddb.PutItemInput, o ...func(*ddb.Options)) (*ddb.PutItemOutput, error) {
		was := f.item(in.Item)
		out, err := a.PutItem(ctx, in, o...)
		m.write("PutItem", was, in.Item)
		return out, err
	}
	metered.UpdateItem = func(ctx context.Context, in *ddb.UpdateItemInput, o ...func(*ddb.Options)) (*ddb.UpdateItemOutput, error) {
		was := f.item(in.Key)
		out, err := a.UpdateItem(ctx, in, o...)
		m.write("UpdateItem", was, f.item(in.Key))
		return out, err
	}
	metered.DeleteItem = func(ctx context.Context, in *ddb.DeleteItemInput, o ...func(*ddb.Options)) (*ddb.DeleteItemOutput, error) {
		was := f.item(in.Key)
		out, err := a.DeleteItem(ctx, in, o...)
		m.write("DeleteItem", was, nil)
		return out, err
	}
	metered.Query = func(ctx context.Context, in *ddb.QueryInput, o ...func(*ddb.Options)) (*ddb.QueryOutput, error) {
		whole := *in
		whole.ProjectionExpression = nil // it is what is read that counts
		all, err := a.Query(ctx, &whole, o...)
		if err != nil {
			return nil, err
		}
		read := 0.0
		for _, it := range all.Items {
			read += size(it)
		}
		m.add("Query "+item(in.ExpressionAttributeValues).text(":kind"), cost.Operations{ReadUnits: units(read, 4096)})
		return a.Query(ctx, in, o...)
	}
	return metered
}

// kmsARN and the size of a wrapped key are as KMS has them.
const kmsARN = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"

func (m *meter) kms() kmsseal.API {
	key := func() []byte { return make([]byte, 32) }
	return kmsseal.API{
		GenerateDataKey: func(_ context.Context, in *kms.GenerateDataKeyInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
			m.add(fmt.Sprint("GenerateDataKey ", slices.Sorted(maps.Keys(in.EncryptionContext))), cost.Operations{KMSCalls: 1})
			return &kms.GenerateDataKeyOutput{KeyId: aws.String(kmsARN), Plaintext: key(), CiphertextBlob: fmt.Appendf(make([]byte, 178), "%06.0f", m.KMSCalls)}, nil
		},
		Decrypt: func(_ context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
			m.add(fmt.Sprint("Decrypt ", slices.Sorted(maps.Keys(in.EncryptionContext))), cost.Operations{KMSCalls: 1})
			return &kms.DecryptOutput{Plaintext: key()}, nil
		},
	}
}
