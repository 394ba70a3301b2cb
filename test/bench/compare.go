package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench says what is compared.
type bench struct {
	bin             string
	callers, rounds int
	span            time.Duration
	conns           []int
	pprof           string
	check           bool
}

const (
	many      = 1000 // users from which on other limits hold
	mostRSS   = 80   // MiB, with many users
	calmShare = 0.3  // of a processor, that a daemon uses which has started
)

// wanted is the least share of the bare floor's requests that keyrot is to
// answer; zero: any.
func wanted(sync string, users, conns int) float64 {
	switch {
	case sync == "always" && users < many:
		return map[int]float64{1: 0.35, 16: 0.65, 64: 0.75}[conns]
	case sync == "always", conns < 16, conns > 64:
		return 0
	case users < many:
		return 0.8
	}
	return 0.7
}

func (b bench) all(ctx context.Context, users, syncs string) error {
	sizes, err := numbers(users)
	if err != nil {
		return err
	}
	var short []error
	for _, n := range sizes {
		for sync := range strings.SplitSeq(syncs, ",") { // each with floors of its own sitting
			fmt.Printf("%d users, audit.sync: %s\n", n, sync)
			missed, err := b.compare(ctx, n, sync)
			if err != nil {
				return err
			}
			short = append(short, missed...)
		}
	}
	if !b.check {
		return nil
	}
	return errors.Join(short...)
}

// side is one of the servers that are compared.
type side struct {
	*process
	requests [][]byte
	results  []result
}

// start starts the floors and keyrot, which comes last.
func (b bench) start(ctx context.Context, f *fleet, sync string) (all []*side, end func(), err error) {
	end = func() {
		for _, s := range all {
			s.stop()
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, end, err
	}
	for _, logged := range []string{"", sync} {
		p, err := start(ctx, nil, func(addr string) []string {
			return []string{self, "-floor", addr, "-users", strconv.Itoa(len(f.users)), "-logged", logged}
		})
		if err != nil {
			return all, end, fmt.Errorf("floor: %w", err)
		}
		all = append(all, &side{process: p, requests: floorRequests(p.addr, f.users)})
	}
	p, err := f.serve(ctx, b.bin, sync, b.pprof)
	if err != nil {
		return all, end, err
	}
	s := &side{process: p}
	all = append(all, s)
	s.requests, err = f.requests(ctx, p)
	return all, end, err
}

func (b bench) compare(ctx context.Context, users int, sync string) (missed []error, err error) {
	f, err := newFleet(ctx, users, b.callers)
	if err != nil {
		return nil, err
	}
	defer f.end()
	sides, end, err := b.start(ctx, f, sync)
	defer end()
	if err != nil {
		return nil, err
	}
	keyrot := sides[len(sides)-1]
	if _, err := load(ctx, keyrot.process, 4, 2*time.Second, keyrot.requests); err != nil { // every user is asked for
		return nil, fmt.Errorf("keyrot: %w", err)
	}
	if err := keyrot.calm(ctx); err != nil {
		return nil, err
	}
	rss, err := keyrot.steady(ctx)
	if err != nil {
		return nil, err
	}
	fmt.Println("connections  floor req/s  keyrot req/s  ratio  of logged  " +
		"floor p99  keyrot p99  ratio  floor CPU  keyrot CPU  of each answer")
	for _, n := range b.conns {
		if err := b.measure(ctx, sides, n); err != nil {
			return nil, err
		}
		bare, logged, ours := median(sides[0].results), median(sides[1].results), median(keyrot.results)
		fmt.Printf("%11d  %11.0f  %12.0f  %5.2f  %9.2f  %9s  %10s  %5.2f  %9s  %10s\n", n, bare.rate, ours.rate, ours.rate/bare.rate,
			ours.rate/logged.rate, bare.p99.Round(10*time.Microsecond), ours.p99.Round(10*time.Microsecond),
			float64(ours.p99)/float64(bare.p99), bare.cpu.Round(100*time.Nanosecond), ours.cpu.Round(100*time.Nanosecond))
		if share, want := ours.rate/bare.rate, wanted(sync, users, n); share < want {
			missed = append(missed, fmt.Errorf("%d users, %s, %d connections: %.2f of the bare floor, want %.2f", users, sync, n, share, want))
		}
	}
	fmt.Printf("memory: %.1f MiB in steady state, %.1f MiB after the load; %d keys were made and %d deleted meanwhile\n",
		rss, keyrot.memory(), f.aws.Counts()["CreateAccessKey"].Calls, f.aws.Counts()["DeleteAccessKey"].Calls)
	if users >= many && rss > mostRSS {
		missed = append(missed, fmt.Errorf("%d users, %s: %.1f MiB, want at most %d", users, sync, rss, mostRSS))
	}
	return missed, nil
}

// measure loads all sides in turns; the first round warms up.
func (b bench) measure(ctx context.Context, sides []*side, conns int) error {
	for i := range max(1, b.rounds) + 1 {
		for _, s := range sides {
			r, err := load(ctx, s.process, conns, b.span, s.requests)
			if err != nil {
				return fmt.Errorf("%s: %w", s.cmd.Path, err)
			}
			if i == 0 {
				s.results = nil
				continue
			}
			s.results = append(s.results, r)
		}
	}
	return nil
}

// calm waits until the daemon has done what it does when it starts, such as
// looking at each user's keys, for two minutes at most.
func (p *process) calm(ctx context.Context) error {
	const look = 3 * time.Second
	for range 40 {
		before := p.cpu()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
		if (p.cpu() - before).Seconds() < calmShare*look.Seconds() {
			return nil
		}
	}
	return nil
}

// steady returns the resident memory, in MiB, after a minute of rotations: the
// median of what is seen.
func (p *process) steady(ctx context.Context) (float64, error) {
	var seen []float64
	for range 20 {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(3 * time.Second):
		}
		seen = append(seen, p.memory())
	}
	slices.Sort(seen)
	return seen[len(seen)/2], nil
}

// median returns the medians of all figures, each for itself.
func median(rs []result) result {
	at := func(less func(a, b result) int) result { return slices.SortedFunc(slices.Values(rs), less)[len(rs)/2] }
	return result{
		rate: at(func(a, b result) int { return cmp.Compare(a.rate, b.rate) }).rate,
		p99:  at(func(a, b result) int { return cmp.Compare(a.p99, b.p99) }).p99,
		cpu:  at(func(a, b result) int { return cmp.Compare(a.cpu, b.cpu) }).cpu,
	}
}
