//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/seal/kmsseal"
	"github.com/keyrot/keyrot/pkg/store/content"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

// servers without authorization accept any key.
var anyKey = aws.Credentials{AccessKeyID: "AKIAANYKEY", SecretAccessKey: "any"}

// newTable makes a table of a fresh name with time to live switched on.
func newTable(ctx context.Context, cfg aws.Config) (string, error) {
	table := "keyrot-" + rand.Text()
	c := ddb.NewFromConfig(cfg)
	if _, err := c.CreateTable(ctx, dynamodb.Schema(table)); err != nil {
		return "", err
	}
	_, err := c.UpdateTimeToLive(ctx, &ddb.UpdateTimeToLiveInput{
		TableName: &table,
		TimeToLiveSpecification: &ddbtypes.TimeToLiveSpecification{
			AttributeName: aws.String(dynamodb.TTLAttribute), Enabled: aws.Bool(true),
		},
	})
	return table, err
}

func localSealer(t *testing.T) seal.Sealer {
	t.Helper()
	l, err := seal.NewLocal(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The store keeps its promises on the maker's own DynamoDB and on moto.
func TestDynamoDBStore(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(context.Context, string) (*Process, error){
		"DynamoDB Local": StartDynamoDBLocal,
		"moto":           StartMoto,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := run(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Stop)
			cfg := config(p.URL, anyKey)
			open := func(t *testing.T) *dynamodb.Store {
				t.Helper()
				table, err := newTable(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				api := dynamodb.NewAPI(cfg)
				if name == "moto" {
					api.UpdateItem = oneAtATime(api.UpdateItem)
				}
				return &dynamodb.Store{API: api, Table: table, Sealer: localSealer(t), PageSize: 2}
			}
			t.Run("suites", func(t *testing.T) { // ends before the server does
				rotatetest.TestStore(t, func(t *testing.T) rotate.Store { return open(t) })
				rotatetest.TestSettings(t, func(t *testing.T) rotate.Settings { return open(t) })
				rotatetest.TestHandouts(t, func(t *testing.T) rotate.Handouts { return open(t) })
				t.Run("several processes extend one audit log", func(t *testing.T) { testAuditLog(t, open(t)) })
				t.Run("a table that does not exist", func(t *testing.T) { testNoTable(t, open(t)) })
			})
		})
	}
}

// oneAtATime is for moto, which looks whether the condition holds and then
// changes the item, with other requests in between. DynamoDB Local needs none.
func oneAtATime[F ~func(context.Context, *In, ...func(*ddb.Options)) (*Out, error), In, Out any](call F) F {
	var mu sync.Mutex
	return func(ctx context.Context, in *In, o ...func(*ddb.Options)) (*Out, error) {
		mu.Lock()
		defer mu.Unlock()
		return call(ctx, in, o...)
	}
}

func testAuditLog(t *testing.T, s *dynamodb.Store) {
	const processes, each = 3, 15
	logs := make([]*dynamodb.Audit, processes)
	for i := range logs {
		logs[i] = &dynamodb.Audit{API: s.API, Table: s.Table, Sealer: s.Sealer}
	}
	var wg sync.WaitGroup
	for _, l := range logs {
		for i := range each {
			wg.Go(func() {
				if err := l.Append(t.Context(), rotate.Event{Time: time.Now(), Action: fmt.Sprint("step", i)}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	end, err := logs[0].Verify(t.Context())
	if err != nil || end.Seq != processes*each {
		t.Errorf("Verify = %v, %v, want %d lines", end, err, processes*each)
	}
	var b bytes.Buffer
	if err := logs[0].Export(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.VerifyBetween(&b, audit.Tail{}, end); err != nil {
		t.Errorf("the exported log: %v", err)
	}
}

func testNoTable(t *testing.T, s *dynamodb.Store) {
	gone := dynamodb.Store{API: s.API, Table: "no-such-table", Sealer: s.Sealer}
	_, err := gone.Load(t.Context(), "ann")
	if !errors.Is(err, dynamodb.ErrNoTable) || hint.Of(err) == "" {
		t.Errorf("Load = %v (hint %q), want %v", err, hint.Of(err), dynamodb.ErrNoTable)
	}
}

// newKMSKey makes a KMS key and returns its ARN.
func newKMSKey(ctx context.Context, cfg aws.Config) (string, error) {
	out, err := kms.NewFromConfig(cfg).CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		return "", err
	}
	return *out.KeyMetadata.Arn, nil
}

// A value opens in another process, for the user it was sealed for, under the
// key it was sealed with, and not otherwise.
func TestKMSSealer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p, err := StartMoto(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	cfg := config(p.URL, anyKey)
	first, err := newKMSKey(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	second, err := newKMSKey(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	process := func(key string) *kmsseal.Sealer {
		return &kmsseal.Sealer{API: kmsseal.NewAPI(cfg), Key: key, Context: content.EncryptionContext}
	}
	entry := func(user string) rotate.Entry {
		return rotate.Entry{
			Record:  plan.Record{User: user, ARN: "arn:aws:iam::123456789012:user/" + user},
			Secrets: map[string]rotate.Secret{"AKIA1": rotate.NewSecret("secret")},
		}
	}
	sealed, err := content.SealSecrets(ctx, process(first), entry("ann"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := content.OpenSecrets(ctx, process(first), entry("ann").Record, sealed)
	if err != nil || got["AKIA1"].Reveal() != "secret" {
		t.Errorf("opened in another process: %v", err)
	}
	if _, err := content.OpenSecrets(ctx, process(first), entry("bob").Record, sealed); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("opened for another user: %v, want %v", err, seal.ErrWrongKey)
	}
	if _, err := process("alias/none").Seal(ctx, nil, nil); !errors.Is(err, seal.ErrKeyMissing) {
		t.Errorf("sealed with a key that does not exist: %v, want %v", err, seal.ErrKeyMissing)
	}
	// moto opens with whatever key the data key names; AWS, and the sealer's
	// own test, refuse. What must hold everywhere: no wrong plaintext.
	if got, err := content.OpenSecrets(ctx, process(second), entry("ann").Record, sealed); err == nil && got["AKIA1"].Reveal() != "secret" {
		t.Error("opened with another KMS key, to something else")
	}
}
