//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/client"
)

// slowSchedule leaves room for faults that last some seconds.
var slowSchedule = []string{"--rotate-every", "8s", "--deactivate-after", "11s", "--delete-after", "14s", "--settle", "0s"}

const healTime = 4 * time.Minute // by when all must be well again after the last fault

// TestFaults runs two daemons and a cron job on one store for FAULTS_DURATION
// (default 5m) while AWS, the machine and the disk misbehave as FAULTS_SEED
// says (default: drawn). Consumers use everything that they are given, at AWS
// itself, until its Expiration. FAULTS_WITHOUT leaves out kinds of faults.
func TestFaults(t *testing.T) {
	d, seed := 5*time.Minute, rand.Uint64N(1_000_000)
	var err error
	if s := os.Getenv("FAULTS_DURATION"); s != "" {
		if d, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("FAULTS_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	without := strings.FieldsFunc(os.Getenv("FAULTS_WITHOUT"), func(r rune) bool { return r == ',' })
	t.Logf("seed %d; to replay: make e2e-faults SEED=%d DURATION=%s", seed, seed, d)
	newTroupe(t, seed, without).play(d, Script(seed, d, 2, without))
}

// troupe is all that takes part: AWS and what is before it, keyrot, consumers.
type troupe struct {
	*scene
	aws       *Versitygw
	weather   *Weather
	disk      *Disk // nil: the disk is never full
	logs      string
	daemons   []*Daemon
	consumers []*Consumer
}

func newTroupe(t *testing.T, seed uint64, without []string) *troupe {
	t.Helper()
	v, err := StartVersitygw(t.Context(), shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Stop)
	w, err := NewWeather(v.IAM.URL, v.Root, seed, slices.Contains(without, dates))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	t.Logf("AWS's clock is ahead of this machine's by %s", time.Until(w.Now()).Round(time.Second))
	p := &troupe{aws: v, weather: w, logs: shortDir(t)}
	state := shortDir(t)
	if !slices.Contains(without, full) {
		if p.disk, err = NewDisk(state, 24); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.disk.Unmount() })
	}
	p.scene = newSceneIn(t, state, v.IAM.URL, v.Root, "app", "batch", "build", "mail", "web")
	for i, e := range p.Env { // only keyrot's own calls go through the weather
		if name, _, _ := strings.Cut(e, "="); name == "AWS_ENDPOINT_URL_IAM" || name == "AWS_ENDPOINT_URL_STS" {
			p.Env[i] = name + "=" + w.URL
		}
	}
	for n := range 2 {
		d, err := p.NewDaemon(t.Context(), n, p.logs, slowSchedule...)
		if err != nil {
			t.Fatal(err)
		}
		p.daemons = append(p.daemons, d)
	}
	open := func(c aws.Credentials) *s3.Client {
		return s3.NewFromConfig(config(v.S3.URL, c), func(o *s3.Options) { o.UsePathStyle = true })
	}
	p.call = func(ctx context.Context, k Pair) error {
		c := open(aws.Credentials{AccessKeyID: k.AccessKeyId, SecretAccessKey: k.SecretAccessKey})
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket-" + k.UserName), Key: aws.String("k"), Body: bytes.NewReader([]byte("x"))})
		return err
	}
	for i, u := range p.users {
		if _, err := open(v.Root).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket-" + u)}); err != nil {
			t.Fatal(err)
		}
		for _, lazy := range []bool{false, true} {
			c := &Consumer{User: u, Lazy: lazy, Now: w.Now, Use: p.call}
			for j := range p.daemons {
				d := p.daemons[(i+j)%len(p.daemons)]
				c.Doors = append(c.Doors, &client.Client{Endpoint: "http://" + d.Addr, APIKey: p.Key})
			}
			p.consumers = append(p.consumers, c)
		}
	}
	return p
}

// play runs the script, then waits until all is well, and judges.
func (p *troupe) play(d time.Duration, script []Episode) {
	t := p.t
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for _, daemon := range p.daemons {
		wg.Go(func() {
			if err := daemon.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for _, c := range p.consumers {
		wg.Go(func() { c.Run(ctx, 200*time.Millisecond) })
	}
	cron, endCron := context.WithCancel(ctx)
	wg.Go(func() { p.cron(cron) })
	p.perform(ctx, d, script)
	endCron()
	last := p.heal(ctx)
	cancel()
	wg.Wait()
	p.judge(d)
	if last != nil {
		p.control(*last)
	}
}

// perform has the episodes happen.
func (p *troupe) perform(ctx context.Context, d time.Duration, script []Episode) {
	began := time.Now()
	var wg sync.WaitGroup
	for _, e := range script {
		sleep(ctx, time.Until(began.Add(e.At)))
		p.t.Log(e)
		switch e.Kind {
		case dates:
			p.weather.Shift(e.Step)
		case kill:
			p.daemons[e.Daemon].Kill(e.For)
		case killAll:
			for _, daemon := range p.daemons {
				daemon.Kill(e.For)
			}
		default:
			wg.Go(func() { p.befall(ctx, e) })
		}
	}
	wg.Wait()
	sleep(ctx, time.Until(began.Add(d)))
}

// befall has a fault last for its time.
func (p *troupe) befall(ctx context.Context, e Episode) {
	switch e.Kind {
	case freeze:
		p.daemons[e.Daemon].Signal(syscall.SIGSTOP)
		sleep(ctx, e.For)
		p.daemons[e.Daemon].Signal(syscall.SIGCONT)
	case full:
		if err := p.disk.Fill(); err != nil {
			p.t.Error(err)
		}
		sleep(ctx, e.For)
		if err := p.disk.Free(); err != nil {
			p.t.Error(err)
		}
	case badSync:
		pid := p.daemons[e.Daemon].Pid()
		if pid == 0 {
			return // it was killed just now
		}
		audit := filepath.Join(p.Dir, "audit.jsonl")
		db := filepath.Join(p.Dir, "keyrot.db")
		bad, err := spoilSyncs(pid, filepath.Join(p.logs, "strace.log"), audit, db, db+"-wal")
		if err != nil {
			p.t.Error(err)
			return
		}
		sleep(ctx, e.For)
		p.t.Logf("%d syncs failed", bad.stop())
	case partition:
		p.weather.Set(1, hanging)
		sleep(ctx, e.For)
		p.weather.Set(0)
	default:
		p.weather.Set(e.Share, e.Kinds...)
		sleep(ctx, e.For)
		p.weather.Set(0)
	}
}

// cron runs rotate-once beside the daemons, which may fail.
func (p *troupe) cron(ctx context.Context) {
	for ctx.Err() == nil {
		turn, cancel := context.WithTimeout(ctx, 20*time.Second)
		_, _ = p.Run(turn, append([]string{"rotate-once", "--wait", "2s"}, slowSchedule...)...)
		cancel()
		sleep(ctx, 4*time.Second)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// heal waits until both daemons are well, every user is served by both, and
// IAM has nothing but what keyrot knows of. It returns a pair of the end.
func (p *troupe) heal(ctx context.Context) (last *Pair) {
	p.weather.Set(0)
	ctx, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	var err error
	for {
		if last, err = p.well(ctx); err == nil {
			return last
		}
		if ctx.Err() != nil {
			p.t.Errorf("%s after the last fault: %v", healTime, err)
			return nil
		}
		sleep(ctx, time.Second)
	}
}

func (p *troupe) well(ctx context.Context) (last *Pair, err error) {
	for _, d := range p.daemons {
		if err := d.Healthy(ctx); err != nil {
			return nil, err
		}
	}
	for _, c := range p.consumers {
		for _, door := range c.Doors {
			got, err := door.Credential(ctx, c.User)
			if err != nil {
				return nil, err
			}
			pair := pairOf(got)
			if err := p.call(ctx, pair); err != nil && p.weather.Now().Before(pair.Expiration) {
				return nil, err
			}
			last = &pair
		}
	}
	for _, u := range p.users {
		if err := p.agree(u); err != nil {
			return nil, err
		}
	}
	return last, nil
}

// judge says what was wrong.
func (p *troupe) judge(d time.Duration) {
	t := p.t
	calls, keys := 0, map[string]bool{}
	for _, c := range p.consumers {
		calls += c.Calls
		maps.Copy(keys, c.Seen)
		for i, r := range c.Refused {
			if i < 3 {
				t.Errorf("refused: %s", r)
			}
		}
		if len(c.Refused) > 3 {
			t.Errorf("and %d more of %s", len(c.Refused)-3, c.User)
		}
		t.Logf("%s (lazy: %v): %d calls with %d keys, %d refused, without a key for %s, %v %v",
			c.User, c.Lazy, c.Calls, len(c.Seen), len(c.Refused), c.Starved.Round(time.Second), c.Denied, c.Trouble)
	}
	passed, hits := p.weather.Hits()
	t.Logf("%d calls by consumers, with %d keys; %d calls of keyrot's, of which %v", calls, len(keys), passed, hits)
	for _, d := range p.daemons {
		t.Logf("daemon on %s: started %d times, ended by itself: %v", d.Addr, d.starts, d.ended)
	}
	// Faults may cost most rotations, but not all of them.
	if want := len(p.users) * int(1+d/time.Minute); len(keys) < want {
		t.Errorf("consumers have seen %d keys, want %d: the run has shown nothing", len(keys), want)
	}
	if out, err := p.Run(t.Context(), "audit", "verify"); err != nil {
		t.Errorf("the audit log: %v\n%s", err, out)
	}
	p.recorded()
	if t.Failed() {
		for _, d := range p.daemons {
			raw, _ := os.ReadFile(d.Log)
			t.Logf("%s ends:\n%s", d.Log, raw[max(0, len(raw)-4000):])
		}
	}
}

// recorded checks that every key that a consumer has got is on record, and no
// secret is.
func (p *troupe) recorded() {
	t := p.t
	raw, err := os.ReadFile(filepath.Join(p.Dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	given, actions := map[string]bool{}, map[string]int{}
	for l, err := range audit.Lines(bytes.NewReader(raw)) {
		if err != nil {
			t.Fatal(err)
		}
		if actions[l.Action]++; l.Action == "handout" {
			given[l.Key] = true
		}
	}
	t.Logf("on record: %v", actions)
	missing := map[string]bool{}
	for _, c := range p.consumers {
		for id := range c.Seen {
			if !given[id] {
				missing[id] = true
			}
		}
		for _, d := range p.daemons {
			log, _ := os.ReadFile(d.Log)
			for secret := range c.Secrets {
				if bytes.Contains(raw, []byte(secret)) || bytes.Contains(log, []byte(secret)) {
					t.Errorf("a secret of %s is in a log", c.User)
				}
			}
		}
	}
	// A daemon that is killed while the disk fails takes what it kept with it.
	if len(missing) > 0 {
		t.Logf("not on record, as the daemon's own log may say: %v", slices.Collect(maps.Keys(missing)))
	}
}

// control shows that the judge sees a refusal: a consumer that goes on with a
// key long after its Expiration.
func (p *troupe) control(pair Pair) {
	t := p.t
	if err := p.Serve(t.Context(), slowSchedule...); err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	late := &Consumer{User: pair.UserName, Now: func() time.Time { return pair.Expiration.Add(-time.Hour) }, Use: p.call, Trouble: map[string]int{}}
	for range 60 {
		if late.use(t.Context(), pair); len(late.Refused) > 0 {
			return
		}
		time.Sleep(time.Second)
	}
	t.Error("negative control: a key still works a minute after its Expiration")
}
