package main

import (
	"context"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/sqlite"
)

// daily is a schedule by which hardly anybody is due while all are looked at.
var daily = []string{"--rotate-every", "24h", "--deactivate-after", "36h", "--delete-after", "48h"} //nolint:gochecknoglobals // a constant

// fill makes a store in which each user has a key that was made just now, and is
// rotated once a day.
func (k *scene) fill(ctx context.Context) error {
	store, err := sqlite.Open(ctx, sqlite.Options{Path: k.file("keyrot.db"), Key: seal.KeyFile(k.file("keyrot.key"))})
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	names := make(chan string)
	var wg sync.WaitGroup
	var first error
	var mu sync.Mutex
	for range 32 { // commits share a sync
		wg.Go(func() {
			for name := range names {
				id, userID := k.Give(name)
				policy := plan.Policy{RotateEvery: 24 * time.Hour}.WithDefaults()
				policy.Phase = plan.PhaseOf(name, policy.RotateEvery)
				_, err := store.Save(ctx, rotate.Entry{
					Record: plan.Record{User: name, UserID: userID, Enrolled: now, Slot: now, Keys: []plan.Held{{
						ID: id, Stage: plan.Current, Slot: now, Created: now, Made: now, Proven: now, Confirmed: now, Promoted: now,
						Promise: now.Add(24 * time.Hour),
					}}},
					Secrets: map[string]rotate.Secret{id: rotate.NewSecret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")},
					Due:     policy.NextSlot(now),
				})
				if err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
				}
			}
		})
	}
	for _, name := range k.Names() {
		names <- name
	}
	close(names)
	wg.Wait()
	if err := store.Close(); first == nil {
		first = err
	}
	return first
}
