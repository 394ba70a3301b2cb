package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyrot/keyrot/pkg/notify"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

func TestNewFunction(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		code int // of the error; 0: there is none
		says string
	}{
		"a rotator":             {map[string]string{"KEYROT_FUNCTION": "rotator", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k", "KEYROT_USERS_NAMES": "ann"}, 0, ""},
		"a rotator that mails":  {map[string]string{"KEYROT_FUNCTION": "rotator", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k", "KEYROT_USERS_NAMES": "ann", "KEYROT_NOTIFY_SES_FROM": "a@example.com", "KEYROT_NOTIFY_SES_TO": "b@example.com"}, 0, ""},
		"a rotator of nobody":   {map[string]string{"KEYROT_FUNCTION": "rotator", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k"}, 2, rotate.ErrNoUsers.Error()},
		"no table":              {map[string]string{"KEYROT_FUNCTION": "rotator"}, 2, "store.table"},
		"a table without a key": {map[string]string{"KEYROT_FUNCTION": "rotator", "KEYROT_STORE_TABLE": "t"}, 2, "store.kms_key"},
		"another function":      {map[string]string{"KEYROT_FUNCTION": "x", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k"}, 2, "KEYROT_FUNCTION"},
		"an API without secret": {map[string]string{"KEYROT_FUNCTION": "api", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k"}, 2, "KEYROT_API_SECRET"},
		"a malformed schedule":  {map[string]string{"KEYROT_FUNCTION": "rotator", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k", "KEYROT_ROTATE_EVERY": "9"}, 2, "rotate_every"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			e := Env{Out: &out, Err: &out, Now: time.Now, Getenv: func(k string) string { return c.env[k] }}
			f, _, err := e.newFunction(t.Context())
			if exitCode(err) != c.code || c.code != 0 && !strings.Contains(err.Error(), c.says) {
				t.Errorf("newFunction = %v, want exit code %d and %q", err, c.code, c.says)
			}
			if c.code == 0 && (f.RunOnce == nil || f.API != nil || f.Overdue == nil) {
				t.Error("the rotator's function rotates, and does nothing else")
			}
			if c.code == 0 && (f.Tell != nil) != (c.env["KEYROT_NOTIFY_SES_TO"] != "") {
				t.Errorf("the function tells somebody: %t", f.Tell != nil)
			}
		})
	}
}

func TestGlobalTablesAreNotOpened(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		replicas []types.ReplicaDescription
		fail     error
		want     error
		warned   bool
	}{
		"one region":      {nil, nil, nil, false},
		"a replica":       {make([]types.ReplicaDescription, 1), nil, dynamodb.ErrGlobal, false},
		"not to be known": {nil, errors.New("denied"), nil, true},
	} {
		var out bytes.Buffer
		st := &dynamodb.Store{Table: "t", API: dynamodb.API{
			DescribeTable: func(context.Context, *ddb.DescribeTableInput, ...func(*ddb.Options)) (*ddb.DescribeTableOutput, error) {
				return &ddb.DescribeTableOutput{Table: &types.TableDescription{Replicas: c.replicas}}, c.fail
			},
		}}
		err := onlyHere(t.Context(), st, slog.New(slog.NewTextHandler(&out, nil)))
		if !errors.Is(err, c.want) || c.want == nil && err != nil || (out.Len() > 0) != c.warned {
			t.Errorf("%s: onlyHere = %v, log %q, want %v", name, err, out.String(), c.want)
		}
		passes := 0
		run := hereOnly(st, slog.New(slog.DiscardHandler), func(context.Context, rotate.Options) (rotate.Report, error) {
			passes++
			return rotate.Report{}, nil
		})
		_, _ = run(t.Context(), rotate.Options{})
		if _, err := run(t.Context(), rotate.Options{}); !errors.Is(err, c.want) || passes != map[bool]int{true: 2, false: 0}[c.want == nil] {
			t.Errorf("%s: the function made %d passes, %v", name, passes, err)
		}
	}
}

// hanging is a store that does not answer what has changed.
type hanging struct{ *rotatetest.MemStore }

func (hanging) Changes(ctx context.Context, _ int64) (rotate.Changes, error) {
	<-ctx.Done()
	return rotate.Changes{}, ctx.Err()
}

// channel is a channel of messages that may be broken.
type channel struct {
	broken bool
	sent   []notify.Message
}

func (*channel) Name() string { return "mail" }

func (c *channel) Send(_ context.Context, m notify.Message) error {
	if c.broken {
		return errors.New("broken")
	}
	c.sent = append(c.sent, m)
	return nil
}

// What a pass met leaves although the records cannot be read in time, and what
// cannot leave is sent by the next environment.
func TestTellerSurvives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &rotatetest.MemStore{}
		invoke := func(store rotate.Store, mail *channel, item *notify.Item) {
			n := &notify.Notifier{Settings: st, Channels: []notify.Channel{mail}, Log: slog.New(slog.DiscardHandler)}
			if item != nil {
				n.Tell(*item)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			defer cancel()
			teller(n, &notify.Watchdog{Clock: rotatetest.Clock(), Notifier: n, Roster: rosterOf(store)})(ctx)
		}
		works, broken := &channel{}, &channel{broken: true}
		invoke(hanging{st}, works, &notify.Item{Kind: notify.Change, Title: "first"})
		if len(works.sent) != 1 {
			t.Errorf("%d messages were sent while the store hung, want 1", len(works.sent))
		}
		invoke(st, broken, &notify.Item{Kind: notify.Change, Title: "second"})
		time.Sleep(time.Minute)
		invoke(st, works, nil)
		if len(works.sent) != 2 || works.sent[1].Items[0].Title != "second" {
			t.Errorf("the next environment sent %+v, want what was left", works.sent)
		}
	})
}

// dead is a store that does not answer.
type dead struct{ hanging }

func (dead) Setting(ctx context.Context, _ string) ([]byte, int64, error) {
	<-ctx.Done()
	return nil, 0, ctx.Err()
}

func (dead) SaveSetting(ctx context.Context, _ string, _ []byte, _ int64) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// A table that does not answer takes no more of the seconds for telling than
// leaves some to send, from memory, what there is to say: that it does not.
func TestTellerSaysThatTheStoreHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, mail := dead{hanging{&rotatetest.MemStore{}}}, &channel{}
		n := &notify.Notifier{Settings: st, Channels: []notify.Channel{mail}, Log: slog.New(slog.DiscardHandler)}
		tell := teller(n, &notify.Watchdog{Clock: rotatetest.Clock(), Notifier: n, Roster: rosterOf(st)})
		for range 4 {
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			began := time.Now()
			tell(ctx)
			cancel()
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("telling took %s, want 8 s at most", took)
			}
			time.Sleep(52 * time.Second)
		}
		if len(mail.sent) != 1 || mail.sent[0].Items[0].Title != "the store cannot be read" {
			t.Errorf("sent %+v, want once that the store cannot be read", mail.sent)
		}
	})
}

func TestReadAPISecret(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for name, c := range map[string]struct {
		text string
		fail error
		want string
	}{
		"a key":       {`{"api_key":"k"}`, nil, "k"},
		"no key":      {`{"other":"hunter2"}`, nil, ""},
		"no JSON":     {`hunter2`, nil, ""},
		"unreachable": {``, down, ""},
	} {
		get := func(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
			if *in.SecretId != "id" {
				t.Errorf("%s: secret %q was asked for", name, *in.SecretId)
			}
			return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(c.text)}, c.fail
		}
		got, err := readAPISecret(t.Context(), get, "id")
		if got != c.want || (err == nil) != (c.want != "") || c.fail != nil && !errors.Is(err, c.fail) || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: readAPISecret = %q, %v, want %q", name, got, err, c.want)
		}
	}
}

// The API's instances share the chains that the template lets them search, and
// the rotator has one of its own.
func TestChainOf(t *testing.T) {
	t.Parallel()
	template, err := os.ReadFile("../../templates/keyrot.yaml")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]int{}
	for i := range 800 {
		e := Env{Getenv: func(string) string { return fmt.Sprintf("2026/11/27/[$LATEST]%032x", i) }}
		used[e.chainOf("api")]++
		if got := e.chainOf("rotator"); got != "rotator" {
			t.Errorf("a rotator appends to %q", got)
		}
	}
	for name, n := range used {
		if n < 40 {
			t.Errorf("%d of 800 instances append to %q", n, name)
		}
		if !regexp.MustCompile(`dynamodb:LeadingKeys": \[.*audit#` + name + `[,\]]`).Match(template) {
			t.Errorf("the template does not let the API search the end of %q", name)
		}
	}
	if len(used) != apiChains {
		t.Errorf("%d chains are used, want %d", len(used), apiChains)
	}
}

func rosterOf(st rotate.Store) *rotate.Roster {
	return &rotate.Roster{Store: st, Policy: func(string) plan.Policy { return plan.Policy{} }, Now: time.Now}
}
