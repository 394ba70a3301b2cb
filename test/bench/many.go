package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/metrics"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/server"
	"github.com/keyrot/keyrot/pkg/store/sqlite"
)

func manyUsers(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("user-%05d", i)
	}
	return names
}

// serveMany serves the users as "keyrot serve" does, from a store and with an
// audit log in a new folder. Nothing is rotated, but a hundred times a second
// something is committed to the store, as if it were.
func serveMany(ctx context.Context, addr, sync string, users []string) error {
	debug.SetGCPercent(400) // as "keyrot serve" does
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(dir, "keyrot.db"), Key: seal.KeyFile(filepath.Join(dir, "key"))})
	if err != nil {
		return err
	}
	defer store.Close()
	if err := fill(ctx, store, users); err != nil {
		return err
	}
	log, err := audit.Open(ctx, audit.Options{Path: filepath.Join(dir, "audit.log"), Sync: audit.Sync(sync), Settings: store})
	if err != nil {
		return err
	}
	defer log.Close(context.WithoutCancel(ctx))
	clock := &rotate.Clock{}
	clock.Begin()(time.Now())
	policy := func(string) plan.Policy { return plan.Policy{} }
	late := &rotate.Late{Audit: log, Handouts: store}
	keys := &auth.Keys{Settings: store, Fixed: []auth.Key{auth.FixedKey("bench", apiKey, []string{"*"}, auth.Reader)}, Now: clock.Now}
	m := metrics.New(metrics.Options{
		Roster: &rotate.Roster{Store: store, Policy: policy, Now: clock.Now}, Policy: policy, Now: clock.Now, Late: late,
		Pace: func() (float64, float64) { return 0, 0 }, Down: func() []string { return nil },
	})
	srv := &server.Server{
		Keys: keys, Tokens: &auth.Tokens{Settings: store, Keys: keys, Now: clock.Now}, Health: ready{},
		Credentials: m.Handouts(&rotate.Dispenser{Store: store, Policy: policy, Late: late, Clock: clock}),
		Observe:     m.Request, Limits: server.Limits{Caller: 1e6},
	}
	go func() {
		t := time.NewTicker(10 * time.Millisecond)
		defer t.Stop()
		for ctx.Err() == nil {
			<-t.C
			_, _ = store.Acquire(ctx, users[0], "bench", time.Now(), time.Minute) // nobody else wants it
		}
	}()
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return srv.Serve(ctx, ln)
}

// fill enrols the users, each with a key that has just become Current.
func fill(ctx context.Context, store *sqlite.Store, users []string) error {
	now := time.Now().UTC().Truncate(time.Second)
	for i, user := range users {
		id := fmt.Sprintf("AKIA%016d", i)
		_, err := store.Save(ctx, rotate.Entry{
			Record: plan.Record{User: user, UserID: fmt.Sprintf("AIDA%016d", i), Enrolled: now, Slot: now, Keys: []plan.Held{{
				ID: id, Stage: plan.Current, Slot: now, Created: now, Made: now, Proven: now, Confirmed: now, Promoted: now,
				Promise: now.Add(24 * time.Hour),
			}}},
			Secrets: map[string]rotate.Secret{id: rotate.NewSecret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")},
			Due:     now.Add(24 * time.Hour),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ready is the health of a server that serves.
type ready struct{}

func (ready) Health(context.Context) (api.Health, error) { return api.Health{Serving: 1}, nil }
