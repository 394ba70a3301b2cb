package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/liveness"
	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/awsiam"
	"github.com/keyrot/keyrot/pkg/metrics"
	"github.com/keyrot/keyrot/pkg/notify"
	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/server"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
	"github.com/keyrot/keyrot/pkg/store/sqlite"
)

// sealKeyVariable may hold the key that secrets are sealed with, instead of
// the key file.
const sealKeyVariable = "KEYROT_SEAL_KEY"

// cloud is the AWS that is worked on: the real one or the sandbox.
type cloud struct {
	IAM    rotate.IAM
	SDK    *awsiam.IAM // the same, where it is the SDK's
	Pace   rotate.Pace // of the calls that change something; nil: none
	Config aws.Config  // for the services beside it
	Select func(context.Context) ([]rotate.User, error)
	// Matches knows what the configuration says about users that Select does
	// not find. nil: nobody looks.
	Matches *matches
	Clock   *rotate.Clock // AWS's time, as its answers tell it
	Quick   bool          // consistent at once: proofs need no pauses
}

// store is what the commands need of a store.
type store interface {
	rotate.Store
	rotate.Settings
	rotate.Handouts
	Close() error
}

// record is an audit log that is closed when the command ends.
type record interface {
	rotate.Audit
	Flush(context.Context) error // see rotate.Event.More
	Close(context.Context) error
}

// fileAudit is the log in a file, which puts nothing off.
type fileAudit struct{ *audit.Log }

func (fileAudit) Flush(context.Context) error { return nil }

// tableStore is the store in a DynamoDB table, which needs no closing.
type tableStore struct{ *dynamodb.Store }

func (tableStore) Close() error { return nil }

type tableAudit struct{ *dynamodb.Audit }

func (tableAudit) Close(context.Context) error { return nil }

// system is all parts, joined.
type system struct {
	clock   *rotate.Clock
	store   store
	audit   record
	late    *rotate.Late // before audit: keeps hand-outs that it does not take
	rotator *rotate.Rotator
	roster  *rotate.Roster
	server  *server.Server
	notify  *notify.Notifier // nil: nobody is told
	watch   *notify.Watchdog
	health  *health
	guard   *guard
	pace    *pace.Budget       // nil: nothing is learnt
	pprof   string             // where profiles are taken; empty: nowhere
	pruner  *pruner            // nil: nothing is pruned here
	alive   *liveness.Registry // nil: the leases of killed processes end by themselves
}

// open joins the parts. The caller closes the result.
func open(ctx context.Context, e Env, cfg config.Config, aws cloud) (_ *system, err error) {
	s := &system{clock: aws.Clock, pprof: cfg.Server.Pprof}
	defer func() {
		if err != nil {
			_ = s.close(ctx) // the first error matters
		}
	}()
	log := logger(e.Err, cfg.Log)
	certificate, err := tlsConfig(cfg.Server, log, s.clock.Now)
	if err == nil {
		_, _, err = publishers(cfg, aws.Config, s.clock.Now, log)
	}
	if err != nil { // before a store is made
		return nil, usage(err, "")
	}
	if s.store, err = openStore(ctx, cfg, e.Getenv, s.clock); err != nil {
		return nil, err
	}
	if t, ok := s.store.(tableStore); ok {
		if err := onlyHere(ctx, t.Store, log); err != nil {
			return nil, usage(err, "")
		}
	}
	if s.audit, err = openAudit(ctx, cfg, s.store, s.clock.Now, log); err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	s.prunes(cfg, log)
	if m := aws.Matches; m != nil && m.tell == nil {
		m.tell = func(entries []string) { log.Warn("settings that match no user", "entries", entries) }
	}
	history, recorded := historyOf(cfg, s.audit)
	recording, reading, writing := vitals(cfg)
	s.late = &rotate.Late{Audit: vitalAudit{recorded, recording}, Handouts: s.store, Log: log, Now: s.clock.Now}
	now, policy := s.clock.Now, cfg.PolicyAt(s.clock.Now)
	s.roster = &rotate.Roster{Store: s.store, Policy: policy, Now: now}
	s.rotator = &rotate.Rotator{
		IAM: aws.IAM, Pace: aws.Pace, Store: vitalStore{s.store, reading, writing}, Roster: s.roster, Audit: s.late, Handouts: s.store,
		Policy: policy, Select: aws.Select, Rule: ruleOf(cfg.Users), Settings: s.store, Existing: rotate.ExistingKeys(cfg.ExistingKeys),
		Log: log, Clock: s.clock, Workers: cfg.Workers, Tick: config.Tick, Recorded: s.audit.Flush,
	}
	if _, file := s.store.(*sqlite.Store); file {
		s.live(cfg.Store.Path+".owners", log)
	}
	if aws.SDK != nil { // the pace begins with what the store knows of it
		aws.SDK.Pace.Settings, s.pace = s.store, aws.SDK.Pace
	}
	if aws.Quick {
		s.rotator.ProofGap = -1
	}
	if err := s.outbound(cfg, aws.Config); err != nil {
		return nil, usage(err, "")
	}
	dispenser := &rotate.Dispenser{Store: s.store, Policy: policy, Late: s.late, Clock: s.clock}
	s.guard = &guard{Parts: []*vital{recording, reading, writing}, Promised: dispenser.Promised, Kept: s.late.Waiting}
	s.health = &health{
		roster: s.roster, now: now, late: s.late, down: s.rotator.Down, promised: dispenser.Promised, capacity: s.capacity(cfg),
		unenrolled: s.rotator.Unenrolled,
	}
	proxies, err := cfg.Server.Proxies()
	if err != nil {
		return nil, usage(err, "")
	}
	keys := &auth.Keys{Settings: s.store, Now: now, Audit: s.late, Actor: operator()}
	s.server = &server.Server{
		Keys:        keys,
		Tokens:      &auth.Tokens{Settings: s.store, Keys: keys, Now: now},
		Credentials: dispenser,
		Health:      s.health,
		Log:         log,
		Now:         e.Now,
		Proxies:     proxies,
		Limits: server.Limits{
			Caller: cfg.Server.CallerRate, Failures: cfg.Server.FailureRate,
			Connections: cfg.Server.MaxConnections, Requests: cfg.Server.MaxRequests,
		},
	}
	if err := s.identities(ctx, cfg.Server, aws.Config, now); err != nil {
		return nil, usage(err, "")
	}
	s.server.Page = &page.Page{
		Roster: s.roster, Policy: policy, Keys: keys, History: history, Now: now, Log: log,
		Secure: cfg.Server.TLSCert != "" || cfg.Server.AllowPlainHTTP, // then a proxy adds it
	}
	s.measure(cfg, aws)
	s.server.TLS = certificate
	return s, nil
}

// live makes this process known to those that share the store's file, and them to
// it, so that the leases of one that is killed do not hold the others up.
func (s *system) live(dir string, log *slog.Logger) {
	owner := rotate.NewOwner()
	var err error
	if s.alive, err = liveness.Register(dir, owner); err != nil {
		log.Warn("should this process be killed, others wait for up to a minute until its leases end", "err", err)
		return
	}
	s.rotator.Owner, s.rotator.Dead = owner, s.alive.Dead
}

// tlsConfig returns nil if the server speaks plain HTTP.
func tlsConfig(cfg config.Server, log *slog.Logger, now func() time.Time) (*tls.Config, error) {
	if cfg.TLSCert == "" {
		return nil, nil //nolint:nilnil // documented
	}
	files := server.TLSFiles{Cert: cfg.TLSCert, Key: cfg.TLSKey, ClientCA: cfg.ClientCA, NoHTTP2: !cfg.HTTP2, Log: log, Now: now}
	if cfg.HTTP2 && !server.SafeHTTP2(runtime.Version()) {
		log.Warn("HTTP/2 is off: any client can end the HTTP/2 server of the release of Go that keyrot was built by (GO-2026-6617)",
			"go", runtime.Version())
		files.NoHTTP2 = true
	}
	return files.Config()
}

// measure counts what the parts do, if anybody may see it.
func (s *system) measure(cfg config.Config, aws cloud) {
	if cfg.Server.Metrics == "off" {
		return
	}
	pace := func() (float64, float64) { return 0, 0 }
	if aws.SDK != nil {
		pace = aws.SDK.Pace.State
	}
	m := metrics.New(metrics.Options{
		Roster: s.roster, Policy: s.rotator.Policy, Now: s.clock.Now, Pace: pace, Late: s.late, Down: s.rotator.Down,
		Ahead: func() int { return s.health.Capacity().Late },
	})
	if s.rotator.IAM != nil {
		s.rotator.IAM = m.IAM(s.rotator.IAM)
	}
	next := s.rotator.Observe
	s.rotator.Observe = func(user string, step plan.Step, err error) {
		m.Step(user, step, err)
		if next != nil {
			next(user, step, err)
		}
	}
	s.server.Credentials = m.Handouts(s.server.Credentials)
	s.server.Observe, s.server.Metrics, s.server.MetricsOpen = m.Request, m.Handler, cfg.Server.Metrics == "open"
}

// outbound joins what tells and gives others something.
func (s *system) outbound(cfg config.Config, sdk aws.Config) (err error) {
	if s.rotator.Publishers, s.rotator.Optional, err = publishers(cfg, sdk, s.clock.Now, s.rotator.Log); err != nil {
		return err
	}
	s.notify, err = notifier(cfg.Notify, sdk, s.store, s.clock.Now, s.rotator.Log)
	if err != nil || s.notify == nil {
		return err
	}
	s.notify.Log = s.rotator.Log
	host, _ := os.Hostname()
	s.watch = &notify.Watchdog{Clock: s.clock, Notifier: s.notify, Roster: s.roster, Policy: s.rotator.Policy, Tick: config.Tick, Owner: host}
	s.rotator.Observe, s.rotator.Target, s.rotator.Beat = s.notify.Observe, s.notify.Target, s.watch.Beat
	return nil
}

// close closes what was opened, the store last: the others write to it.
func (s *system) close(ctx context.Context) error {
	var errs []error
	if s.notify != nil && s.notify.Pending() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if err := s.notify.Flush(grace); err != nil { // what was done is done
			s.rotator.Log.Warn("notices could not be written down", "err", err)
		}
	}
	if s.audit != nil {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if s.late != nil {
			errs = append(errs, s.late.Close(grace))
		}
		errs = append(errs, s.audit.Close(grace))
	}
	if s.alive != nil {
		errs = append(errs, s.alive.Close())
	}
	if s.store != nil {
		s.pace.Flush(ctx)
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// historyOf returns what the status page knows of the past: what is in the log
// if that is a file, otherwise what this process records from now on.
func historyOf(cfg config.Config, log rotate.Audit) (*page.History, rotate.Audit) {
	if cfg.Store.Table == "" {
		return &page.History{Path: cfg.Audit.Path}, log
	}
	h := &page.History{}
	return h, h.Tee(log)
}

// openAudit opens the log: in the table if there is one, where any number of
// processes append to one chain, otherwise in the file.
func openAudit(ctx context.Context, cfg config.Config, st store, now func() time.Time, l *slog.Logger) (record, error) {
	if t, ok := st.(tableStore); ok {
		return tableAudit{&dynamodb.Audit{API: t.API, Table: t.Table, Sealer: t.Sealer, Now: now}}, nil
	}
	log, err := audit.Open(ctx, audit.Options{Path: cfg.Audit.Path, Sync: audit.Sync(cfg.Audit.Sync), Settings: st, Now: now, Log: l})
	if err != nil {
		return nil, err
	}
	return fileAudit{log}, nil
}

// first returns what says, once all went well, that a store was made.
func (e Env) first(cfg config.Config) (made func()) {
	if storeExists(cfg) == nil {
		return func() {}
	}
	return func() { e.say("made %s", nameOf(cfg.Store)) }
}

// openStore opens the store, making the file if it is missing. What a table
// answers tells clock the time.
func openStore(ctx context.Context, cfg config.Config, getenv func(string) string, clock *rotate.Clock) (store, error) {
	if cfg.Store.Table != "" {
		return connectTable(ctx, cfg, clock)
	}
	key := seal.KeyFile(cfg.Store.KeyFile)
	if text := getenv(sealKeyVariable); text != "" {
		key = seal.KeyText(text)
	}
	st, err := sqlite.Open(ctx, sqlite.Options{Path: cfg.Store.Path, Key: key})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", cfg.Store.Path, err)
	}
	return st, nil
}

// onlyHere refuses a global table. What cannot be seen is no reason to stop.
func onlyHere(ctx context.Context, st *dynamodb.Store, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := st.Single(ctx)
	if err != nil && !errors.Is(err, dynamodb.ErrGlobal) {
		log.Warn("whether the table has replicas in other regions is not known; keyrot must not share such a one", "err", err)
		return nil
	}
	return err
}

// connectTable joins the store in the table that the configuration names.
func connectTable(ctx context.Context, cfg config.Config, clock *rotate.Clock) (store, error) {
	sdk, err := regional(ctx, clock.Log)
	if err != nil {
		return nil, err
	}
	return tableStore{openTable(awsiam.Dated(sdk, clock), cfg)}, nil
}

// openExisting opens the store to look at it: no key is needed, and a store
// that is not there is not made.
func openExisting(ctx context.Context, cfg config.Config, clock *rotate.Clock) (store, error) {
	if cfg.Store.Table != "" {
		return connectTable(ctx, cfg, clock)
	}
	if err := storeExists(cfg); err != nil {
		return nil, err
	}
	st, err := sqlite.Open(ctx, sqlite.Options{Path: cfg.Store.Path})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", cfg.Store.Path, err)
	}
	return st, nil
}

// storeExists refuses a file that is not there.
func storeExists(cfg config.Config) error {
	if cfg.Store.Table != "" {
		return nil
	}
	if _, err := os.Stat(cfg.Store.Path); errors.Is(err, fs.ErrNotExist) {
		return usage(fmt.Errorf("store %s does not exist", cfg.Store.Path), `name the daemon's store with --store, or its settings with `+
			`--config; if there is none yet, "keyrot serve" makes it`)
	}
	return nil
}

// openKept opens the store to change it, and makes none: a command that looks in
// the wrong place must not work on a store that nobody serves.
func openKept(ctx context.Context, cfg config.Config, getenv func(string) string, clock *rotate.Clock) (store, error) {
	if err := storeExists(cfg); err != nil {
		return nil, err
	}
	return openStore(ctx, cfg, getenv, clock)
}

// nameOf says which store it is.
func nameOf(cfg config.Store) string {
	if cfg.Table != "" {
		return "table " + cfg.Table
	}
	return "store " + cfg.Path
}
