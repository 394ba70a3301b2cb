//go:build e2e

package e2e

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyrot/keyrot/internal/cost"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

// The write units that "keyrot plan --cost" reckons with are those that the
// maker's own DynamoDB says it has consumed.
func TestCapacity(t *testing.T) { // not parallel: TestLambda needs the processors
	ctx := t.Context()
	local, err := StartDynamoDBLocal(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(local.Stop)
	cfg := config(local.URL, anyKey)
	table, err := newTable(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	api := dynamodb.NewAPI(cfg)
	written := 0.0
	put, update := api.PutItem, api.UpdateItem // a rotation makes no other writes
	api.PutItem = func(ctx context.Context, in *ddb.PutItemInput, o ...func(*ddb.Options)) (*ddb.PutItemOutput, error) {
		out, err := put(ctx, in, o...) // which asks what was consumed
		if err == nil {
			written += aws.ToFloat64(out.ConsumedCapacity.CapacityUnits)
		}
		return out, err
	}
	api.UpdateItem = func(ctx context.Context, in *ddb.UpdateItemInput, o ...func(*ddb.Options)) (*ddb.UpdateItemOutput, error) {
		out, err := update(ctx, in, o...)
		if err == nil {
			written += aws.ToFloat64(out.ConsumedCapacity.CapacityUnits)
		}
		return out, err
	}
	iam := &rotatetest.AWS{}
	iam.AddUser("ann", "/machines/", nil)
	st := &dynamodb.Store{API: api, Table: table, Sealer: localSealer(t)}
	record := &dynamodb.Audit{API: api, Table: table, Sealer: st.Sealer, Chain: "rotator"}
	now := time.Date(2026, 11, 23, 18, 0, 0, 123456789, time.UTC)
	r := &rotate.Rotator{
		IAM: iam, Store: st, Handouts: st, Log: slog.New(slog.DiscardHandler), ProofGap: -1,
		Audit: record, Recorded: record.Flush,
		Owner:  "lambda/2026/11/26/[$LATEST]0123456789abcdef0123456789abcdef/ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		Select: func(context.Context) ([]rotate.User, error) { return iam.Users(), nil },
		Clock:  rotatetest.ClockAt(func() time.Time { return now }),
	}
	const rotations = 3
	for minute := range 80 + 10*rotations { // until an hour of tombstones has gathered
		if minute == 80 {
			written = 0
		}
		rep, err := r.RunOnce(ctx, rotate.Options{})
		if err != nil || len(rep.Failed()) > 0 {
			t.Fatalf("RunOnce = %+v, %v", rep, err)
		}
		now = now.Add(time.Minute)
	}
	if got := written / rotations; got != cost.PerRotation.WriteUnits {
		t.Errorf("a rotation consumed %g write units, cost.PerRotation has %g", got, cost.PerRotation.WriteUnits)
	}
}
