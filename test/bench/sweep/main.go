// Command sweep measures how long keyrot takes to rotate many users, against an
// IAM in memory with a set latency and token buckets, and beside the least that
// any rotator could take: a client of the same SDK that makes the three calls of
// a rotation, as many at once as keyrot has workers.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/keyrot/keyrot/test/bench/cloud"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bin := flag.String("keyrot", "bin/keyrot", "the binary")
	users := flag.Int("users", 500, "users that are due")
	workers := flag.String("workers", "8,32", "workers, one measurement for each")
	latency := flag.Duration("latency", 50*time.Millisecond, "of each call")
	perSecond := flag.Float64("rate", 0, "calls a second that IAM allows of each action; 0: any number")
	burst := flag.Int("burst", 20, "calls at once that IAM allows of each action")
	flag.Parse()
	for text := range strings.SplitSeq(*workers, ",") {
		n, err := strconv.Atoi(text)
		if err == nil {
			err = measure(ctx, sweep{*bin, *users, n, *latency, *perSecond, *burst})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "sweep:", err)
			os.Exit(1)
		}
	}
}

type sweep struct {
	bin            string
	users, workers int
	latency        time.Duration
	perSecond      float64
	burst          int
}

// settle is how long keyrot lets a new key settle, by default.
const settle = 10 * time.Second

func measure(ctx context.Context, s sweep) error {
	c := cloud.New(s.users)
	c.Latency, c.PerSecond, c.Burst = s.latency, s.perSecond, s.burst
	url, end, err := serve(ctx, c)
	if err != nil {
		return err
	}
	defer end()
	floor, err := least(ctx, url, s)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	dir, err := os.MkdirTemp("", "sweep")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	k := keyrot{s, dir, url}
	for range 2 { // enrolment, and a round that leaves each user with two keys
		if _, err := k.once(ctx); err != nil {
			return err
		}
		c.Pass(time.Hour)
	}
	c.Reset()
	took, err := k.once(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("rotate-once, %d users, %d workers: %.1f s, floor %.1f s + settle %.0f s: %.2f of the floor\n",
		s.users, s.workers, took.Seconds(), floor.Seconds(), settle.Seconds(), (took-settle).Seconds()/floor.Seconds())
	counts := c.Counts()
	for _, a := range slices.Sorted(keys(counts)) {
		fmt.Printf("  %-20s %6.2f a user, %d throttled\n", a, float64(counts[a].Calls)/float64(s.users), counts[a].Throttled)
	}
	return nil
}

func keys(m map[string]cloud.Count) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func serve(ctx context.Context, h http.Handler) (url string, end func(), err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(ln) }()
	return "http://" + ln.Addr().String(), func() { _ = srv.Close() }, nil
}

// least makes the three calls of a rotation for each user.
func least(ctx context.Context, url string, s sweep) (time.Duration, error) {
	c := iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("AKIAOPERATOR", "s", ""),
		RetryMaxAttempts: 100,
	})
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	names := make(chan string)
	start := time.Now()
	for range s.workers {
		wg.Go(func() {
			for name := range names {
				if err := rotate(ctx, c, name); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
				}
			}
		})
	}
	for i := range s.users {
		names <- fmt.Sprintf("user-%05d", i)
	}
	close(names)
	wg.Wait()
	return time.Since(start), first
}

func rotate(ctx context.Context, c *iam.Client, name string) error {
	out, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		return err
	}
	id := out.AccessKey.AccessKeyId
	if _, err := c.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &name, AccessKeyId: id, Status: types.StatusTypeInactive}); err != nil {
		return err
	}
	_, err = c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: aws.String(*id)})
	return err
}

type keyrot struct {
	sweep
	dir, url string
}

// once runs rotate-once over all users.
func (k keyrot) once(ctx context.Context) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, k.bin, "rotate-once", "-o", "json") // #nosec G204 -- our own binary
	cmd.Dir = k.dir
	rate := "100000"
	if k.perSecond > 0 {
		rate = strconv.FormatFloat(k.perSecond, 'f', -1, 64)
	}
	cmd.Env = append(os.Environ(), "HOME="+k.dir, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIAOPERATOR", "AWS_SECRET_ACCESS_KEY=s",
		"AWS_ENDPOINT_URL_IAM="+k.url, "AWS_ENDPOINT_URL_STS="+k.url, "AWS_CONFIG_FILE=/dev/null",
		"KEYROT_STORE_PATH="+filepath.Join(k.dir, "keyrot.db"), "KEYROT_AUDIT_PATH="+filepath.Join(k.dir, "audit.jsonl"),
		"KEYROT_USERS_ALL=true", "KEYROT_IAM_RATE="+rate, "KEYROT_IAM_BURST="+strconv.Itoa(max(5, k.burst)), "KEYROT_WORKERS="+strconv.Itoa(k.workers))
	log, err := os.Create(filepath.Join(k.dir, "log"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	cmd.Stderr = log
	start := time.Now()
	if out, err := cmd.Output(); err != nil {
		text, _ := os.ReadFile(log.Name())
		return 0, fmt.Errorf("%w\n%s\n%.2000s", err, text[max(0, len(text)-2000):], out)
	}
	return time.Since(start), nil
}
