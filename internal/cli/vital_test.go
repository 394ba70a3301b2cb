package cli

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/server"
)

// nobody is a listener that nobody connects to.
type nobody struct {
	net.Listener
	closed chan struct{}
	once   sync.Once
}

func (l *nobody) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l *nobody) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *nobody) Addr() net.Addr { return &net.TCPAddr{} }

// memoryLog is an audit log that fails with err.
type memoryLog struct{ err atomic.Pointer[error] }

func (l *memoryLog) Append(context.Context, rotate.Event) error {
	if err := l.err.Load(); err != nil {
		return *err
	}
	return nil
}

// daemon is what serve runs, over a store and a log whose disks can fail.
type daemon struct {
	*system
	dispenser *rotate.Dispenser
	disk      atomic.Pointer[error] // under the store
	hang      chan struct{}         // with errHang: closed when the store answers again
	log       memoryLog
	ended     chan error // what run returned
}

var errHang = errors.New("hangs")

// inDaemon runs f in virtual time beside a daemon of one user, which has a key.
func inDaemon(t *testing.T, f func(t *testing.T, d *daemon)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &daemon{hang: make(chan struct{}), ended: make(chan error, 1)}
		st, aws := &rotatetest.MemStore{}, &rotatetest.AWS{}
		st.Before = func(string, string) error {
			err := d.disk.Load()
			switch {
			case err == nil:
				return nil
			case errors.Is(*err, errHang):
				<-d.hang
			}
			return *err
		}
		aws.AddUser("ci", "/", nil)
		recording, reading, writing := vitals(config.Config{Store: config.Store{Path: "keyrot.db"}, Audit: config.Audit{Path: "audit.jsonl"}})
		clock := rotatetest.Clock()
		late := &rotate.Late{Audit: vitalAudit{&d.log, recording}, Handouts: st, Now: time.Now}
		d.dispenser = &rotate.Dispenser{Store: st, Late: late, Clock: clock}
		d.system = &system{
			clock: clock, late: late,
			rotator: &rotate.Rotator{
				IAM: aws, Store: vitalStore{st, reading, writing}, Audit: late, Clock: clock, Owner: "test",
				Select: func(context.Context) ([]rotate.User, error) { return aws.Users(), nil },
			},
			server: &server.Server{},
			guard:  &guard{Parts: []*vital{recording, reading, writing}, Promised: d.dispenser.Promised, Kept: late.Waiting},
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { d.ended <- d.run(ctx, &nobody{closed: make(chan struct{})}) })
		time.Sleep(time.Minute)
		f(t, d)
		cancel()
		d.disk.Store(nil)
		close(d.hang)
		wg.Wait()
	})
}

// served has a client ask once a minute for so long, and returns for how long
// it got something.
func (d *daemon) served(t *testing.T, asks time.Duration) (served time.Duration) {
	t.Helper()
	for began := time.Now(); time.Since(began) < asks; time.Sleep(time.Minute) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := d.dispenser.Give(ctx, "ci", rotate.Recipient{Caller: "app"}); err == nil {
			served = time.Since(began)
		}
		cancel()
	}
	return served
}

// end returns what run returned if it did within the time.
func (d *daemon) end(within time.Duration) (err error, after time.Duration) { //nolint:revive,staticcheck // what it ended with, then when
	began := time.Now()
	select {
	case err := <-d.ended:
		return err, time.Since(began)
	case <-time.After(within):
		return nil, within
	}
}

func TestADaemonThatCannotBeHealedEnds(t *testing.T) {
	eio := error(syscall.EIO)
	hang := errHang
	for name, c := range map[string]struct {
		spoil func(*daemon)
		says  string
	}{
		"the log's disk fails":   {func(d *daemon) { d.log.err.Store(&eio) }, "the audit log audit.jsonl has failed"},
		"the store's disk fails": {func(d *daemon) { d.disk.Store(&eio) }, "reading the store keyrot.db has failed"},
		"the store hangs":        {func(d *daemon) { d.disk.Store(&hang) }, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			inDaemon(t, func(t *testing.T, d *daemon) {
				if d.served(t, time.Minute) != 0 {
					t.Error("nothing is handed out at the first question")
				}
				c.spoil(d)
				// Nobody asks any more: what was promised ends within 12 minutes.
				err, after := d.end(3 * time.Hour)
				if err == nil || !strings.Contains(err.Error(), c.says) || hintFor(err) == "" || exitCode(err) != 1 {
					t.Errorf("run() = %v with the hint %q after %s, want an end with 1 that says %q", err, hintFor(err), after, c.says)
				}
				if after < endAfter || after > 25*time.Minute {
					t.Errorf("the daemon ended after %s, want it after %s and soon after the last promise", after, endAfter)
				}
			})
		})
	}
}

// TestADaemonThatServesStays: what it hands out from memory would end with it,
// and what it could not record.
func TestADaemonThatServesStays(t *testing.T) {
	inDaemon(t, func(t *testing.T, d *daemon) {
		eio := error(syscall.EIO)
		d.log.err.Store(&eio)
		if served := d.served(t, 3*time.Hour); served < 3*time.Hour-2*time.Minute {
			t.Errorf("the client was served for %s of 3 h", served)
		}
		select {
		case err := <-d.ended:
			t.Fatalf("run() = %v while it serves", err)
		default:
		}
		if err, after := d.end(time.Hour); err == nil || after > 7*time.Minute {
			t.Errorf("run() = %v after %s, want an end once nobody is served", err, after)
		}
	})
}

// TestADaemonStaysForWhatItKept: a disk that was full for half an hour gets
// what was handed out meanwhile.
func TestADaemonStaysForWhatItKept(t *testing.T) {
	inDaemon(t, func(t *testing.T, d *daemon) {
		full := error(syscall.ENOSPC)
		d.log.err.Store(&full)
		d.disk.Store(&full)
		d.served(t, 2*time.Minute)
		if d.late.Waiting() != 0 {
			t.Fatal("something was handed out without a promise in memory")
		}
		d.disk.Store(nil)
		d.served(t, 2*time.Minute)
		d.disk.Store(&full)
		if n := d.late.Waiting(); n != 1 {
			t.Fatalf("%d hand-outs wait, want 1", n)
		}
		if err, after := d.end(30 * time.Minute); err != nil {
			t.Fatalf("run() = %v after %s, want it to stay for what waits", err, after)
		}
		d.log.err.Store(nil)
		d.disk.Store(nil)
		if err, _ := d.end(time.Minute); err != nil || d.late.Waiting() != 0 || d.late.Recorded() == 0 {
			t.Errorf("run() = %v, %d wait and %d are recorded; want all on record", err, d.late.Waiting(), d.late.Recorded())
		}
		d.log.err.Store(&full)
		d.served(t, 2*time.Minute)
		d.disk.Store(&full)
		if err, after := d.end(3 * time.Hour); err == nil || after < 50*time.Minute || after > 75*time.Minute {
			t.Errorf("run() = %v after %s, want an end after about an hour", err, after)
		}
	})
}

// TestADiskThatIsBackInTimeEndsNothing: nine minutes, and again and again.
func TestADiskThatIsBackInTimeEndsNothing(t *testing.T) {
	inDaemon(t, func(t *testing.T, d *daemon) {
		eio := error(syscall.EIO)
		for range 20 {
			d.log.err.Store(&eio)
			d.disk.Store(&eio)
			time.Sleep(9 * time.Minute)
			d.log.err.Store(nil)
			d.disk.Store(nil)
			time.Sleep(6 * time.Minute)
		}
		if err, _ := d.end(time.Second); err != nil {
			t.Errorf("run() = %v, want it to go on", err)
		}
	})
}
