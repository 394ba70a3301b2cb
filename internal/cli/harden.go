package cli

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The daemon's heap of a few MiB may grow several times as much between two
// garbage collections; one of thousands of users may not.
const (
	headroom    = 10 << 20 // bytes
	mostGrowth  = 400      // GOGC, in percent
	leastGrowth = 40
	lookAtHeap  = time.Second
)

// collectLess lets the heap grow by about headroom between two garbage
// collections until ctx ends, unless GOGC says otherwise.
func collectLess(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	percent := 100 // until something is known of the heap, which grows fast at first
	before := debug.SetGCPercent(percent)
	defer debug.SetGCPercent(before)
	var live [1]metrics.Sample
	live[0].Name = "/gc/heap/live:bytes"
	t := time.NewTicker(lookAtHeap)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		metrics.Read(live[:])
		if now := growth(live[0].Value.Uint64()); now != percent { //nolint:gosec // it has one element
			percent = now
			debug.SetGCPercent(percent)
		}
	}
}

// growth returns by how much a heap with so many bytes in use may grow, in
// percent.
func growth(live uint64) int {
	return int(min(mostGrowth, max(leastGrowth, headroom*100/max(live, 1))))
}
