//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
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

	"github.com/keyrot/keyrot/pkg/client"
)

// slowSchedule leaves room for faults that last some seconds.
var slowSchedule = []string{"--rotate-every", "8s", "--deactivate-after", "11s", "--delete-after", "14s", "--settle", "0s"}

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
	// One after the other: there are enough processes.
	t.Run("on a file", func(t *testing.T) {
		newTroupe(t, seed, false, without).play(d, Script(seed, d, 2, without))
	})
	t.Run("on a table", func(t *testing.T) {
		without := append([]string{full, badSync}, without...)
		newTroupe(t, seed, true, without).play(d, Script(seed, d, 2, without))
	})
}

// troupe is all that takes part: AWS and what is before it, keyrot, consumers.
type troupe struct {
	*scene
	aws       *Versitygw
	weather   *Weather
	disk      *Disk // nil: the disk is never full
	table     bool
	logs      string
	daemons   []*Daemon
	consumers []*Consumer
}

func newTroupe(t *testing.T, seed uint64, table bool, without []string) *troupe {
	t.Helper()
	v, err := StartVersitygw(t.Context(), shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Stop)
	servers := map[string]string{"iam": v.IAM.URL, "sts": v.IAM.URL}
	var env []string
	if table {
		env = onTable(t, v.Root, servers)
	}
	w := NewWeather(servers, v.Root, seed, slices.Contains(without, dates))
	t.Cleanup(w.Close)
	t.Logf("AWS's clock is ahead of this machine's by %s", time.Until(w.Now()).Round(time.Second))
	p := &troupe{aws: v, weather: w, logs: shortDir(t), table: table}
	state := shortDir(t)
	if !slices.Contains(without, full) {
		if p.disk, err = NewDisk(state, 24); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.disk.Unmount() })
	}
	for service := range servers { // only keyrot's own calls go through the weather
		env = append(env, "AWS_ENDPOINT_URL_"+strings.ToUpper(service)+"="+w.URL)
	}
	p.scene = newSceneIn(t, state, v.IAM.URL, v.Root, env, "app", "batch", "build", "mail", "web")
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
			c := &Consumer{User: u, Lazy: lazy, Now: w.Now, Use: p.call, Seen: map[string]bool{}}
			for j := range p.daemons {
				d := p.daemons[(i+j)%len(p.daemons)]
				c.Doors = append(c.Doors, &client.Client{Endpoint: "http://" + d.Addr, APIKey: p.Key})
			}
			p.consumers = append(p.consumers, c)
		}
	}
	return p
}

// onTable starts DynamoDB Local and moto's KMS and returns the environment that
// puts keyrot's state there.
func onTable(t *testing.T, root aws.Credentials, servers map[string]string) []string {
	t.Helper()
	local, err := StartDynamoDBLocal(t.Context(), shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(local.Stop)
	moto, err := StartMoto(t.Context(), shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(moto.Stop)
	table, err := newTable(t.Context(), config(local.URL, root))
	if err != nil {
		t.Fatal(err)
	}
	key, err := newKMSKey(t.Context(), config(moto.URL, root))
	if err != nil {
		t.Fatal(err)
	}
	servers["dynamodb"], servers["kms"] = local.URL, moto.URL
	return []string{"KEYROT_STORE_TABLE=" + table, "KEYROT_STORE_KMS_KEY=" + key}
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
	// Faults may cost most rotations, but not all of them: on a slow machine
	// they go on until there were some.
	want := len(p.users) * int(1+d/time.Minute)
	for end := time.Now().Add(d + patience); ; {
		p.perform(ctx, d, script)
		if n := len(p.seenByConsumers()); n >= want {
			break
		} else if time.Now().After(end) {
			t.Errorf("consumers have seen %d keys, want %d: the run has shown nothing", n, want)
			break
		}
		t.Log("consumers have seen too few keys: once more")
	}
	endCron()
	last := p.heal(ctx)
	cancel()
	wg.Wait()
	p.judge()
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
			p.weather.Shift(time.Until(p.weather.Now()) + e.Step)
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
			if p.daemons[e.Daemon].Pid() == pid { // otherwise it ended just now
				p.t.Error(err)
			}
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

// heal waits until each daemon has been well, every user served by each, and
// IAM found to have nothing but what keyrot knows of: each of these by itself,
// since on a slow machine there is always somebody whose rotation is under way.
// It returns a pair of the end.
func (p *troupe) heal(ctx context.Context) (last *Pair) {
	p.weather.Set(0)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all []func() error
	for _, d := range p.daemons {
		all = append(all, func() error { return d.Healthy(ctx) })
	}
	for _, c := range p.consumers {
		for _, door := range c.Doors {
			all = append(all, func() error {
				got, err := door.Credential(ctx, c.User)
				if err != nil {
					return err
				}
				pair := pairOf(got)
				last = &pair
				if err := p.call(ctx, pair); err != nil && p.weather.Now().Before(pair.Expiration) {
					return err
				}
				return nil
			})
		}
	}
	for _, u := range p.users {
		all = append(all, func() error { return p.agree(u) })
	}
	for _, well := range all {
		for err := well(); err != nil; err = well() {
			if sleep(ctx, time.Second); ctx.Err() != nil {
				p.t.Errorf("%s after the last fault: %v", patience, err)
				return nil
			}
		}
	}
	return last
}
