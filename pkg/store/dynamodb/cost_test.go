package dynamodb

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyrot/keyrot/internal/cost"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/seal/kmsseal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// meter counts what DynamoDB and KMS bill.
type meter struct{ cost.Operations }

// size is about what DynamoDB counts of an item, in bytes.
func size(it any) float64 {
	b, _ := json.Marshal(it) // of attribute values always works
	return float64(len(b))
}

func units(bytes, unit float64) float64 { return max(1, math.Ceil(bytes/unit)) }

// writes of an item, and of its copy in the due index: the old key is removed
// and the new one added.
func (m *meter) write(it any, entry bool) float64 {
	n := units(size(it), 1024)
	if entry {
		n += 2
	}
	return n
}

func (m *meter) api(f *fake) API {
	a := f.api()
	metered := a
	metered.GetItem = func(ctx context.Context, in *ddb.GetItemInput, o ...func(*ddb.Options)) (*ddb.GetItemOutput, error) {
		out, err := a.GetItem(ctx, in, o...)
		if err == nil {
			m.ReadUnits += units(size(out.Item), 4096)
		}
		return out, err
	}
	metered.PutItem = func(ctx context.Context, in *ddb.PutItemInput, o ...func(*ddb.Options)) (*ddb.PutItemOutput, error) {
		m.WriteUnits += m.write(in.Item, item(in.Item).text(attrPK) == kindEntry)
		return a.PutItem(ctx, in, o...)
	}
	metered.UpdateItem = func(ctx context.Context, in *ddb.UpdateItemInput, o ...func(*ddb.Options)) (*ddb.UpdateItemOutput, error) {
		m.WriteUnits++
		return a.UpdateItem(ctx, in, o...)
	}
	metered.DeleteItem = func(ctx context.Context, in *ddb.DeleteItemInput, o ...func(*ddb.Options)) (*ddb.DeleteItemOutput, error) {
		m.WriteUnits++
		return a.DeleteItem(ctx, in, o...)
	}
	metered.Query = func(ctx context.Context, in *ddb.QueryInput, o ...func(*ddb.Options)) (*ddb.QueryOutput, error) {
		out, err := a.Query(ctx, in, o...)
		if err == nil {
			m.ReadUnits += units(size(out.Items), 4096)
		}
		return out, err
	}
	metered.TransactWriteItems = func(ctx context.Context, in *ddb.TransactWriteItemsInput, o ...func(*ddb.Options)) (*ddb.TransactWriteItemsOutput, error) {
		for _, w := range in.TransactItems {
			m.WriteUnits += 2 * m.write(w.Put.Item, false) // prepared, then committed
		}
		return a.TransactWriteItems(ctx, in, o...)
	}
	return metered
}

func (m *meter) kms() kmsseal.API {
	key := func() []byte { return make([]byte, 32) }
	return kmsseal.API{
		GenerateDataKey: func(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
			m.KMSCalls++
			return &kms.GenerateDataKeyOutput{KeyId: aws.String("k"), Plaintext: key(), CiphertextBlob: fmt.Appendf(make([]byte, 180), "%f", m.KMSCalls)}, nil
		},
		Decrypt: func(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error) {
			m.KMSCalls++
			return &kms.DecryptOutput{Plaintext: key()}, nil
		},
	}
}

// The numbers that "keyrot plan --cost" multiplies are what this store does.
func TestCost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := &meter{}
		iam := &rotatetest.AWS{}
		iam.AddUser("ann", "/machines/", nil)
		st := &Store{API: m.api(newFake()), Table: "t", Sealer: &kmsseal.Sealer{API: m.kms(), Key: "k", Context: content.EncryptionContext}}
		record := &Audit{API: st.API, Table: "t", Sealer: st.Sealer, Chain: "rotator"}
		r := &rotate.Rotator{
			IAM: iam, Store: st, Audit: record, Handouts: st, Log: slog.New(slog.DiscardHandler), Owner: "o",
			Select: func(context.Context) ([]rotate.User, error) { return iam.Users(), nil },
		}
		pass := func() {
			if _, err := r.RunOnce(ctx, rotate.Options{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // the bubble's
		}
		for range 30 {
			pass()
		}
		from := m.Operations
		const rotations = 12
		looks := 0
		for range rotations * 10 {
			pass()
			looks++
		}
		all := cost.Operations{
			ReadUnits: m.ReadUnits - from.ReadUnits, WriteUnits: m.WriteUnits - from.WriteUnits, KMSCalls: m.KMSCalls - from.KMSCalls,
		}
		check(t, "PerRotation", cost.PerRotation, cost.Operations{
			ReadUnits:  (all.ReadUnits - float64(looks)*cost.PerLook.ReadUnits) / rotations,
			WriteUnits: all.WriteUnits / rotations,
			KMSCalls:   all.KMSCalls / rotations,
		})
		d := &rotate.Dispenser{Store: st, Audit: &Audit{API: st.API, Table: "t", Sealer: st.Sealer, Chain: "api"}, Handouts: st}
		given := cost.Operations{}
		const handouts = 20
		for range handouts {
			from := m.Operations
			if _, err := d.Give(ctx, "ann", rotate.Recipient{Caller: "c"}); err != nil {
				t.Fatal(err)
			}
			given.ReadUnits += (m.ReadUnits - from.ReadUnits) / handouts
			given.WriteUnits += (m.WriteUnits - from.WriteUnits) / handouts
			given.KMSCalls += (m.KMSCalls - from.KMSCalls) / handouts
			pass()
		}
		check(t, "PerHandout", cost.PerHandout, given)
	})
}

func check(t *testing.T, name string, want, got cost.Operations) {
	t.Helper()
	near := func(a, b float64) bool { return math.Abs(a-b) <= 0.1*max(a, b)+0.5 }
	if !near(want.ReadUnits, got.ReadUnits) || !near(want.WriteUnits, got.WriteUnits) || !near(want.KMSCalls, got.KMSCalls) {
		t.Errorf("cost.%s is %+v, counted were %+v", name, want, got)
	}
}
