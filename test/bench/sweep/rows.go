package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/keyrot/keyrot/test/bench/cloud"
)

// By default, keyrot lets a new key settle for so long, and proves it with calls
// that begin so far apart.
const (
	settle    = 10 * time.Second
	proofSpan = time.Second
)

const unlimited = "KEYROT_IAM_RATE=100000"

var rows = []row{ //nolint:gochecknoglobals // a constant
	{"rotate-once, all due, 8 workers, rate not limiting", onceBeside(8)},
	{"rotate-once, all due, 32 workers, rate not limiting", onceBeside(32)},
	{"serve, all new, default settings", firstKeys},
	{"serve, calls per rotation", perRotation},
	{"rotate-once, all due, IAM allows 10 calls a second", onceThrottled},
	{"serve, IAM allows 10 calls a second", serveThrottled},
	{"serve, reconciliation after a start", reconciliation},
}

// due has keyrot enrol all users, and then leaves each with two keys and all due.
func (k *scene) due(ctx context.Context) error {
	for range 2 {
		if _, _, err := k.once(ctx); err != nil {
			return err
		}
		k.Pass(time.Hour)
	}
	k.Reset()
	return nil
}

func onceBeside(workers int) func(context.Context, sweep) ([]figure, error) {
	return func(ctx context.Context, s sweep) ([]figure, error) {
		k, err := s.open(ctx, cloud.New(s.users), unlimited, "KEYROT_WORKERS="+strconv.Itoa(workers))
		if err != nil {
			return nil, err
		}
		defer k.close()
		least, err := floor(ctx, k.url, s.users, workers)
		if err == nil {
			err = k.due(ctx)
		}
		if err != nil {
			return nil, err
		}
		took, failed, err := k.once(ctx)
		if err != nil {
			return nil, err
		}
		proof := proofSpan + s.latency
		return append([]figure{
			free("seconds", took.Seconds()), free("the floor: three calls a user", least.Seconds()),
			most("(seconds − one settle) / floor", (took-settle).Seconds()/least.Seconds(), 1.25),
			free("the same without one proof", (took-settle-proof).Seconds()/least.Seconds()),
			most("users that failed", float64(failed), 0),
		}, k.perUser(s.users)...), nil
	}
}

// actions are IAM's and STS's, as the table names them.
var actions = []string{ //nolint:gochecknoglobals // a constant
	"CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey", "ListAccessKeys", "GetUser", "GetCallerIdentity",
}

func (k *scene) perUser(n int) (all []figure) {
	counts := k.Counts()
	for _, a := range actions {
		all = append(all, free(a+" a user", float64(counts[a].Calls)/float64(n)))
	}
	return all
}

func firstKeys(ctx context.Context, s sweep) ([]figure, error) {
	k, err := s.open(ctx, cloud.New(s.users))
	if err != nil {
		return nil, err
	}
	defer k.close()
	d, err := k.serve(ctx)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	enrolled, err := d.until(ctx, time.Minute, func() bool { return d.health(ctx).Users == s.users })
	if err != nil {
		return nil, err
	}
	first, err := d.until(ctx, 5*time.Minute, func() bool { return d.health(ctx).Serving > 0 })
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err := d.until(ctx, 15*time.Minute, func() bool { return d.health(ctx).Serving == s.users }); err != nil {
		return nil, err
	}
	all := enrolled + first + time.Since(began)
	created := k.Counts()["CreateAccessKey"]
	span := created.Last.Sub(created.First)
	return []figure{
		free("seconds until all are enrolled", enrolled.Seconds()),
		most("seconds until the first key is handed out", (enrolled + first).Seconds(), 20),
		free("seconds until all are", all.Seconds()),
		free("keys made a second", float64(created.Calls-1)/span.Seconds()),
		most("seconds between the last creation and the last promotion", (time.Since(created.Last)).Seconds(), 20),
		free("calls that IAM refused", float64(k.refused())),
	}, nil
}

// refused returns how many calls IAM has throttled.
func (k *scene) refused() (n int) {
	for _, c := range k.Counts() {
		n += c.Throttled
	}
	return n
}

// changes returns how many calls that change something IAM was asked for.
func (k *scene) changes() (n int) {
	counts := k.Counts()
	for _, a := range actions[:3] {
		n += counts[a].Calls
	}
	return n
}

// quick is a schedule that needs no hour to come to its steady state.
var quick = []string{"--rotate-every", "90s", "--deactivate-after", "2m", "--delete-after", "150s"} //nolint:gochecknoglobals // a constant

func perRotation(ctx context.Context, s sweep) ([]figure, error) {
	n := min(s.users, 60)
	k, err := s.open(ctx, cloud.New(n), "KEYROT_IAM_RATE=50")
	if err != nil {
		return nil, err
	}
	defer k.close()
	d, err := k.serve(ctx, quick...)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	// All begin at once, and come to their own slots by up to six intervals, of 75
	// s most of them. The last key from that time is deleted 150 s later: until then
	// fewer keys are made than are taken away.
	sleep(ctx, 10*time.Minute+30*time.Second)
	k.Reset()
	sleep(ctx, 3*time.Minute) // two rotations of each user
	counts := k.Counts()
	rotations := float64(counts["CreateAccessKey"].Calls)
	if rotations == 0 {
		return nil, fmt.Errorf("no rotation\n%s", d.tail())
	}
	limits := map[string]float64{
		"UpdateAccessKey": 1.05, "DeleteAccessKey": 1.05, "ListAccessKeys": 2.05, "GetUser": 0, "GetCallerIdentity": 7.2,
	}
	var all []figure
	for _, a := range actions[1:] {
		all = append(all, most(a, float64(counts[a].Calls)/rotations, limits[a]))
	}
	return append(all, most("users overdue", float64(d.health(ctx).Overdue), 0)), nil
}

// throttling is a cloud that allows 10 calls of each action a second.
func throttling(n int) *cloud.Cloud {
	c := cloud.New(n)
	c.PerSecond, c.Burst = 10, 20
	return c
}

// learning is how long keyrot may take to find what IAM allows.
const learning = time.Minute

func onceThrottled(ctx context.Context, s sweep) ([]figure, error) {
	c := cloud.New(s.users)
	k, err := s.open(ctx, c, unlimited)
	if err != nil {
		return nil, err
	}
	defer k.close()
	if err := k.due(ctx); err != nil {
		return nil, err
	}
	k.Throttle(10, 20)
	k.env = append(k.env, "KEYROT_IAM_RATE=")
	took, failed, err := k.once(ctx)
	if err != nil {
		return nil, err
	}
	made := k.Counts()["CreateAccessKey"]
	span := made.Last.Sub(made.First).Seconds()
	return []figure{
		free("seconds", took.Seconds()),
		most("users that failed", float64(failed), 0),
		least("share of the allowed rate that is used", float64(made.Calls-made.Throttled)/(10*span+20), 0.9),
		free("calls that IAM refused", float64(k.refused())),
		most("of them after a minute", float64(k.RefusedAfter(learning)), 0),
	}, nil
}

func serveThrottled(ctx context.Context, s sweep) ([]figure, error) {
	k, err := s.open(ctx, throttling(s.users), "KEYROT_IAM_RATE=10")
	if err != nil {
		return nil, err
	}
	defer k.close()
	d, err := k.serve(ctx, "--rotate-every", "3m", "--deactivate-after", "4m", "--delete-after", "5m")
	if err != nil {
		return nil, err
	}
	defer d.stop()
	sleep(ctx, learning)
	before, refused := k.changes(), k.refused()
	sleep(ctx, 5*time.Minute)
	return []figure{
		most("share of the calls that IAM refuses after a minute", float64(k.refused()-refused)/float64(k.changes()-before), 0.01),
		most("users overdue", float64(d.health(ctx).Overdue), 0),
	}, nil
}

func reconciliation(ctx context.Context, s sweep) ([]figure, error) {
	c := cloud.New(s.many)
	k, err := s.open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer k.close()
	if err := k.fill(ctx); err != nil {
		return nil, err
	}
	k.Latency = min(s.latency, 5*time.Millisecond)
	look, err := lookCost(ctx, k.url)
	if err != nil {
		return nil, err
	}
	k.Reset()
	d, err := k.serve(ctx, daily...)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	all, err := d.until(ctx, 15*time.Minute, func() bool { return k.Counts()["ListAccessKeys"].Calls >= s.many })
	if err != nil {
		return nil, err
	}
	cpu, floor := d.cpu(), look.Seconds()*float64(s.many)
	sleep(ctx, 10*time.Second)
	return []figure{
		free("seconds", all.Seconds()),
		most("seconds of CPU", cpu, 5),
		free("the floor: one ListAccessKeys a user by the SDK", floor),
		free("seconds of CPU / floor", cpu/floor),
		most("ListAccessKeys a user", float64(k.Counts()["ListAccessKeys"].Calls)/float64(s.many), 1.01),
		most("CPU afterwards, of one processor", (d.cpu()-cpu)/10, 0.1),
		free("resident memory, MiB", d.memory()),
	}, nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
