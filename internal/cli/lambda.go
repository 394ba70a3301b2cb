package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyrot/keyrot/internal/awsanswer"
	"github.com/keyrot/keyrot/internal/bound"
	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/auth"
	function "github.com/keyrot/keyrot/pkg/lambda"
	"github.com/keyrot/keyrot/pkg/notify"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal/kmsseal"
	"github.com/keyrot/keyrot/pkg/server"
	"github.com/keyrot/keyrot/pkg/store/content"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

// The variables that make a function of the binary, beside the
// configuration's own (KEYROT_STORE_TABLE, KEYROT_STORE_KMS_KEY,
// KEYROT_USERS_*, KEYROT_ROTATE_EVERY …).
const (
	runtimeVariable   = "AWS_LAMBDA_RUNTIME_API"     // set by Lambda
	instanceVariable  = "AWS_LAMBDA_LOG_STREAM_NAME" // set by Lambda
	nameVariable      = "AWS_LAMBDA_FUNCTION_NAME"   // set by Lambda
	functionVariable  = "KEYROT_FUNCTION"            // "rotator" or "api"
	apiSecretVariable = "KEYROT_API_SECRET"          //nolint:gosec // the name of a variable; it holds a secret's id
	apiUsersVariable  = "KEYROT_API_USERS"           // patterns of who that key may read; default *
)

// stackKey is the id of the record that the stack's API key has.
const stackKey = "stack"

// lambdaMain answers events until the process ends.
func (e Env) lambdaMain(ctx context.Context) error {
	f, _, err := e.newFunction(ctx)
	if err != nil {
		return err
	}
	lambda.StartWithOptions(f.Invoke, lambda.WithContext(ctx))
	return nil // not reached
}

// newFunction joins the parts of the function that the environment names, and
// returns them beside it.
func (e Env) newFunction(ctx context.Context) (*function.Function, *system, error) {
	cfg, err := e.loadValid(common{})
	if err != nil {
		return nil, nil, err
	}
	if cfg.Store.Table == "" {
		return nil, nil, usagef("store.table: is empty; a function has no file to keep")
	}
	sdk, err := loadAWS(ctx, logger(e.Err, cfg.Log))
	if err != nil {
		return nil, nil, err
	}
	log := logger(e.Err, cfg.Log)
	aws := e.cloudOf(sdk, cfg)
	sdk, st := aws.Config, openTable(aws.Config, cfg)
	now, policy := aws.Clock.Now, cfg.PolicyAt(aws.Clock.Now)
	s := &system{clock: aws.Clock, store: tableStore{st}}
	f := &function.Function{Log: log, Now: now, Metrics: e.Out, Name: e.Getenv(nameVariable)}
	which := e.Getenv(functionVariable)
	record := &dynamodb.Audit{API: st.API, Table: st.Table, Sealer: st.Sealer, Chain: e.chainOf(which), Now: now}
	s.audit = tableAudit{record}
	tick := &tickStore{Store: st}
	s.roster = &rotate.Roster{Store: tick, Policy: policy, Now: now}
	s.health = &health{roster: s.roster, now: now}
	switch which {
	case "rotator":
		if cfg.Users.Empty() {
			return nil, nil, rotate.ErrNoUsers
		}
		aws.Matches.tell = func(entries []string) { log.Warn("settings that match no user", "entries", entries) }
		r := &rotate.Rotator{
			IAM: aws.IAM, Pace: aws.Pace, Store: tick, Audit: record, Handouts: st, Policy: policy, Select: aws.Select,
			Rule: ruleOf(cfg.Users), Settings: st,
			Existing: rotate.ExistingKeys(cfg.ExistingKeys), Log: log, Clock: aws.Clock, Workers: cfg.Workers,
			Recorded: record.Flush,
			// Host and process id are the same in all instances.
			Owner: "lambda/" + e.Getenv(instanceVariable) + "/" + rand.Text(),
		}
		if r.Publishers, r.Optional, err = publishers(cfg, sdk, now, log); err != nil {
			return nil, nil, usage(err, "")
		}
		n, err := notifier(cfg.Notify, sdk, st, now, log)
		if err != nil {
			return nil, nil, usage(err, "")
		}
		s.rotator, s.notify, s.health.unenrolled = r, n, r.Unenrolled
		aws.SDK.Pace.Settings, s.pace = s.store, aws.SDK.Pace
		f.RunOnce = hereOnly(st, log, func(ctx context.Context, o rotate.Options) (rotate.Report, error) {
			defer s.pace.Flush(ctx)
			tick.begin()
			return r.RunOnce(ctx, o)
		})
		if n != nil {
			n.Log, r.Observe, r.Target = log, n.Observe, n.Target
			s.watch = &notify.Watchdog{Clock: aws.Clock, Notifier: n, Roster: s.roster, Policy: policy}
			f.Tell = teller(n, s.watch)
		}
		f.Overdue = func(ctx context.Context) (int, error) {
			h, err := s.health.Health(ctx)
			return h.Overdue, err
		}
	case "api":
		keys := &auth.Keys{Settings: st.Loosely(), Adopted: stackKey, Now: now} // as old as Keys.MaxAge lets it be
		s.server = &server.Server{
			Keys: keys, Tokens: &auth.Tokens{Settings: st, Keys: keys, Now: now}, Health: s.health, Log: log,
			Credentials: &rotate.Dispenser{Store: st, Peek: st.Peek, Policy: policy, Audit: record, Handouts: st, Clock: aws.Clock},
			Now:         e.Now,
			// The usage plan limits all callers together; this each of them.
			Limits: server.Limits{Caller: cfg.Server.CallerRate, Failures: cfg.Server.FailureRate, Requests: cfg.Server.MaxRequests},
		}
		if err := e.adoptStackKey(ctx, keys, secretsmanager.NewFromConfig(awsanswer.Require(sdk)).GetSecretValue); err != nil {
			return nil, s, err
		}
		f.API = s.server.Handler()
	default:
		return nil, nil, usagef("%s: %q is not one of rotator, api", functionVariable, which)
	}
	return f, s, nil
}

// apiChains is on how many chains the API's instances record hand-outs. They
// append to one of them one after the other, some 75 times a second.
const apiChains = 8

// chainOf is the chain of the audit log that this instance of a function appends
// to. The template names all of them.
func (e Env) chainOf(which string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(e.Getenv(instanceVariable))) // never fails
	if n := h.Sum32() % apiChains; which == "api" && n > 0 {
		return fmt.Sprintf("%s-%d", which, n)
	}
	return which
}

type runOnce = func(context.Context, rotate.Options) (rotate.Report, error)

// hereOnly makes no pass on a global table. A function looks with its first
// pass: looking delays neither its start nor the others.
func hereOnly(st *dynamodb.Store, log *slog.Logger, run runOnce) runOnce {
	var looked atomic.Bool
	return func(ctx context.Context, o rotate.Options) (rotate.Report, error) {
		if !looked.Load() {
			if err := onlyHere(ctx, st, log); err != nil {
				return rotate.Report{}, err
			}
			looked.Store(true)
		}
		return run(ctx, o)
	}
}

// teller tells what a pass met before the function is frozen: what the records
// say in half of the time, so that the rest is left for the messages.
func teller(n *notify.Notifier, w *notify.Watchdog) func(context.Context) {
	return func(ctx context.Context) {
		review, cancel := ctx, context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok {
			review, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		}
		w.Review(review)
		cancel()
		if err := n.Flush(ctx); err != nil {
			n.Log.Warn("notices could not be written down; they are kept in memory", "err", err)
		}
	}
}

// openTable joins the store in a DynamoDB table.
func openTable(sdk aws.Config, cfg config.Config) *dynamodb.Store {
	sdk.HTTPClient = bound.Within(sdk.HTTPClient, bound.Store)
	return &dynamodb.Store{
		API: dynamodb.NewAPI(sdk), Table: cfg.Store.Table,
		Sealer: &kmsseal.Sealer{API: kmsseal.NewAPI(sdk), Key: cfg.Store.KMSKey, Context: content.EncryptionContext},
		Keep:   cmp.Or(cfg.Handouts.Keep, -1), // 0 is for ever here
	}
}

type getSecret = func(
	context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options),
) (*secretsmanager.GetSecretValueOutput, error)

// adoptStackKey lets the API key in that the stack generated into Secrets
// Manager.
func (e Env) adoptStackKey(ctx context.Context, keys *auth.Keys, get getSecret) error {
	id := e.Getenv(apiSecretVariable)
	if id == "" {
		return usagef("%s: is empty", apiSecretVariable)
	}
	users := strings.FieldsFunc(e.Getenv(apiUsersVariable), func(r rune) bool { return r == ',' || r == ' ' })
	if len(users) == 0 {
		users = []string{"*"}
	}
	key, err := readAPISecret(ctx, get, id)
	if err != nil {
		return err
	}
	return keys.Adopt(ctx, key, auth.Key{Name: "the stack's API key", Users: users, Role: auth.Reader})
}

// readAPISecret returns the API key in a secret {"api_key": "…"}.
func readAPISecret(ctx context.Context, get getSecret, id string) (string, error) {
	out, err := get(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id, VersionStage: aws.String("AWSCURRENT")})
	if err != nil {
		return "", fmt.Errorf("reading the API key from secret %s: %w", id, err)
	}
	var v struct {
		APIKey string `json:"api_key"`
	}
	if json.Unmarshal([]byte(aws.ToString(out.SecretString)), &v) != nil || v.APIKey == "" {
		return "", errors.New("reading the API key from secret " + id + `: want {"api_key": "…"}`) // the cause may quote it
	}
	return v.APIKey, nil
}
