// Command crowd serves the status page of very many users, for the tests in a
// browser: a rotator, a store, an audit log and a server as "keyrot serve"
// joins them, over an AWS in memory and after half an hour that has passed
// already. A few of the users are not well.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/server"
	"github.com/keyrot/keyrot/pkg/store/sqlite"
)

func main() {
	users := flag.Int("users", 5000, "how many")
	well := flag.Bool("well", false, "all users are on time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *users, *well); err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		os.Exit(1) //nolint:gocritic // stop ends with the process
	}
}

// crowd is a world and its clock, which hurries until it is now.
type crowd struct {
	aws     *rotatetest.AWS
	rotator *rotate.Rotator
	past    atomic.Pointer[time.Time] // nil: the clock is the machine's
}

func (c *crowd) now() time.Time {
	if t := c.past.Load(); t != nil {
		return *t
	}
	return time.Now()
}

func policy(user string) plan.Policy {
	p := plan.Policy{}.WithDefaults()
	p.Phase = plan.PhaseOf(user, p.RotateEvery)
	return p
}

func run(ctx context.Context, users int, well bool) (err error) {
	dir, err := os.MkdirTemp("", "crowd-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(dir, "keyrot.db"), Key: seal.KeyFile(filepath.Join(dir, "key"))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	path := filepath.Join(dir, "audit.jsonl")
	log, err := audit.Open(ctx, audit.Options{Path: path, Sync: audit.Second, Settings: st})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close(context.WithoutCancel(ctx))) }()
	c := &crowd{}
	if err := c.live(ctx, users, log, st); err != nil {
		return err
	}
	if !well {
		if err := c.trouble(ctx, st, users); err != nil {
			return err
		}
	}
	c.rotator.Store = st
	return c.serve(ctx, st, path)
}

// live lets half an hour pass in memory, and keeps what comes of it in st.
func (c *crowd) live(ctx context.Context, users int, log rotate.Audit, st rotate.Store) error {
	begin := time.Now().Add(-32 * time.Minute)
	c.past.Store(&begin)
	c.aws = &rotatetest.AWS{Now: c.now}
	for i := range users {
		c.aws.AddUser(fmt.Sprintf("%s-%04d", []string{"app", "ci", "etl", "mailer", "report"}[i%5], i), "/machines/", nil)
	}
	memory := &rotatetest.MemStore{}
	c.rotator = &rotate.Rotator{
		IAM: c.aws, Store: memory, Audit: log, Policy: policy, Log: slog.New(slog.DiscardHandler), ProofGap: -1,
		Select: func(context.Context) ([]rotate.User, error) { return c.aws.Users(), nil },
		Clock:  rotatetest.ClockAt(c.now),
	}
	for t := begin; t.Before(time.Now()); t = t.Add(20 * time.Second) {
		c.past.Store(&t)
		if _, err := c.rotator.RunOnce(ctx, rotate.Options{}); err != nil {
			return err
		}
	}
	c.past.Store(nil)
	entries, err := memory.List(ctx)
	if err != nil {
		return err
	}
	for _, listed := range entries {
		e, err := memory.Load(ctx, listed.Record.User)
		if err != nil {
			return err
		}
		e.Version = 0
		if _, err := st.Save(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// trouble befalls every fiftieth user.
func (c *crowd) trouble(ctx context.Context, st rotate.Store, users int) error {
	for i, u := range c.aws.Users() {
		if i%50 != 7 || i >= users {
			continue
		}
		e, err := st.Load(ctx, u.Name)
		if err != nil {
			return err
		}
		now := c.now()
		r := &e.Record
		switch i / 50 % 4 {
		case 0:
			r.Pause = &plan.Pause{Since: now.Add(-26 * time.Minute), By: "ann@ops-3", Reason: "load test until Friday"}
		case 1:
			r.Waiting, r.Since = plan.ForeignKey, now.Add(-7*time.Minute)
		case 2:
			r.Error, r.Since = "creating an access key: Throttling: Rate exceeded", now.Add(-40*time.Second)
		case 3:
			r.Slot = r.Slot.Add(-20 * time.Minute)
			if k := r.In(plan.Current); k != nil {
				k.Slot = r.Slot
			}
			r.Error, r.Since = "creating an access key: Throttling: Rate exceeded", now.Add(-9*time.Minute)
		}
		if _, err := st.Save(ctx, e); err != nil {
			return err
		}
		if _, err := st.Acquire(ctx, u.Name, "crowd", now, 24*time.Hour); err != nil { // so that it lasts
			return err
		}
	}
	return nil
}

func (c *crowd) serve(ctx context.Context, st *sqlite.Store, log string) error {
	keys := &auth.Keys{Settings: st, Now: c.now}
	_, viewer, err := keys.Create(ctx, auth.Key{Name: "wall screen", Role: auth.Viewer})
	if err != nil {
		return err
	}
	secret, _, err := keys.Create(ctx, auth.Key{Name: "deployer", Role: auth.Reader, Users: []string{"*"}})
	if err != nil {
		return err
	}
	roster := &rotate.Roster{Store: st, Policy: policy, Now: c.now}
	srv := &server.Server{
		Keys: keys, Tokens: &auth.Tokens{Settings: st, Keys: keys, Now: c.now}, Log: slog.New(slog.DiscardHandler),
		Credentials: &rotate.Dispenser{
			Store: st, Policy: policy, Clock: c.rotator.Clock,
			Late: &rotate.Late{Audit: c.rotator.Audit, Handouts: st},
		},
		Page:   &page.Page{Roster: roster, Policy: policy, Keys: keys, History: &page.History{Path: log}, Now: c.now},
		Limits: server.Limits{Caller: 1000},
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := "http://" + ln.Addr().String()
	said := map[string]string{"url": url, "link": url + srv.Page.Link(viewer), "key": secret}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		return err
	}
	rotating, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- c.rotator.Run(rotating) }()
	err = srv.Serve(ctx, ln)
	stop()
	return errors.Join(err, <-done)
}
