//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
	"github.com/keyrot/keyrot/test/freeport"
)

// Daemon is a "keyrot serve" that is started again whenever it ends, as a
// supervisor does.
type Daemon struct {
	Addr string
	Log  string // file
	make func() *exec.Cmd

	mu     sync.Mutex
	cmd    *exec.Cmd // nil: not running now
	hold   time.Duration
	starts int
	ended  []string // how it ended, other than by a kill from here
	killed bool
}

// Run keeps the daemon running until ctx ends, then stops it in an orderly way.
func (d *Daemon) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		done, err := d.start()
		if err != nil {
			return err
		}
		var last error
		select {
		case last = <-done:
		case <-ctx.Done():
			d.Signal(syscall.SIGCONT)
			d.Signal(syscall.SIGTERM)
			select {
			case <-done:
			case <-time.After(startTimeout): // it has promised to end by itself
				d.Signal(syscall.SIGKILL)
				<-done
				return fmt.Errorf("the daemon on %s did not end %s after SIGTERM", d.Addr, startTimeout)
			}
			return nil
		}
		d.mu.Lock()
		wait := max(d.hold, 300*time.Millisecond)
		if !d.killed {
			d.ended = append(d.ended, fmt.Sprint(last))
		}
		d.cmd, d.killed = nil, false
		d.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

func (d *Daemon) start() (done chan error, err error) {
	out, err := os.OpenFile(d.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // the child has its own
	d.mu.Lock()
	defer d.mu.Unlock()
	cmd := d.make()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d.cmd, d.starts = cmd, d.starts+1
	done = make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return done, nil
}

// Signal sends a signal if the daemon runs.
func (d *Daemon) Signal(s syscall.Signal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd != nil {
		d.killed = d.killed || s == syscall.SIGKILL
		_ = d.cmd.Process.Signal(s) // it may have ended just now
	}
}

// Kill ends the daemon as a power cut would; it starts again after a while.
func (d *Daemon) Kill(again time.Duration) {
	d.mu.Lock()
	d.hold = again
	d.mu.Unlock()
	d.Signal(syscall.SIGKILL)
}

// Pid returns the process's id, 0 if none runs.
func (d *Daemon) Pid() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd == nil {
		return 0
	}
	return d.cmd.Process.Pid
}

// Healthy reports whether the daemon says that all is well.
func (d *Daemon) Healthy(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.Addr+"/healthz", nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s says %s", d.Addr, res.Status)
	}
	return nil
}

// Consumer gets a user's key again and again, and uses each one that it got
// until the Expiration that it came with, whatever newer ones it has.
type Consumer struct {
	User  string
	Lazy  bool             // asks only when what it has has expired
	Now   func() time.Time // AWS's time, which a consumer's clock shows
	Use   func(context.Context, Pair) error
	Doors []*client.Client // to the daemons, in the order of preference

	Calls   int
	Refused []string
	Trouble map[string]int // calls that were not answered
	Denied  map[string]int // what daemons said when they gave nothing
	Starved time.Duration  // without any key
	Seen    map[string]bool
	Secrets map[string]bool

	mu    sync.Mutex // of Seen
	pairs map[string]Pair
}

// Run works until ctx ends.
func (c *Consumer) Run(ctx context.Context, every time.Duration) {
	c.Trouble, c.Denied, c.pairs, c.Secrets = map[string]int{}, map[string]int{}, map[string]Pair{}, map[string]bool{}
	t := time.NewTicker(every)
	defer t.Stop()
	last := time.Now()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		c.forget()
		if len(c.pairs) == 0 || !c.Lazy && n%3 == 0 {
			c.ask(ctx)
		}
		if len(c.pairs) == 0 {
			c.Starved += time.Since(last)
		}
		last = time.Now()
		for _, p := range c.pairs {
			c.use(ctx, p)
		}
	}
}

// forget drops what has expired. It is not taken up again, should the clock be
// set back.
func (c *Consumer) forget() {
	for id, p := range c.pairs {
		if !c.Now().Before(p.Expiration) {
			delete(c.pairs, id)
		}
	}
}

func (c *Consumer) ask(ctx context.Context) {
	for _, door := range c.Doors {
		asking, cancel := context.WithTimeout(ctx, 3*time.Second)
		got, err := door.Credential(asking, c.User)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				c.Denied[short(err)]++
			}
			continue
		}
		c.Secrets[got.SecretAccessKey] = true
		if c.Now().Before(got.Expiration) {
			c.mu.Lock()
			c.Seen[got.AccessKeyID] = true
			c.mu.Unlock()
			c.pairs[got.AccessKeyID] = pairOf(got)
		}
		return
	}
}

func pairOf(c api.Credential) Pair {
	return Pair{AccessKeyId: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, UserName: c.UserName, Expiration: c.Expiration}
}

// use makes one request with the pair. A refusal that came in time counts.
func (c *Consumer) use(ctx context.Context, p Pair) {
	began := c.Now()
	if !began.Before(p.Expiration) {
		return
	}
	using, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := c.Use(using, p)
	c.Calls++
	switch {
	case err == nil:
	case !refusal(err):
		c.Trouble[short(err)]++
	case c.Now().Before(p.Expiration):
		c.Refused = append(c.Refused, fmt.Sprintf("%s: %s was refused at %s, %s before its Expiration: %v",
			c.User, p.AccessKeyId, time.Now().UTC().Format(time.TimeOnly), p.Expiration.Sub(began).Round(time.Millisecond), err))
	}
}

// NewDaemon prepares the nth daemon of an installation.
func (k *Keyrot) NewDaemon(ctx context.Context, n int, logs string, args ...string) (*Daemon, error) {
	addr, err := freeport.Addr(ctx)
	if err != nil {
		return nil, err
	}
	return &Daemon{Addr: addr, Log: filepath.Join(logs, fmt.Sprintf("daemon%d.log", n)), make: func() *exec.Cmd {
		// Not CommandContext: it ends in an orderly way.
		cmd := exec.Command(filepath.Join(k.Bin, "keyrot"), append([]string{"serve", "--listen", addr}, args...)...)
		cmd.Env = append(os.Environ(), k.env()...)
		return cmd
	}}, nil
}
