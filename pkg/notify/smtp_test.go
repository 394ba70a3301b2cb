package notify

import (
	"bufio"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// mailServer is one that does as its script says.
type mailServer struct {
	refuse string // the recipient that it does not know
	after  string // the data: "close" and "hang" instead of an answer to what follows
	hang   bool   // before its greeting

	mu    sync.Mutex
	mails []string // recipients of what was taken
}

func (s *mailServer) start(t *testing.T) (port int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed by the test
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // lives until the clean-up
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				defer stop()
				defer conn.Close()
				s.talk(ctx, conn)
			})
		}
	})
	t.Cleanup(func() { cancel(); _ = ln.Close(); wg.Wait() })
	return ln.Addr().(*net.TCPAddr).Port
}

func (s *mailServer) talk(ctx context.Context, conn net.Conn) {
	say := func(line string) { _, _ = conn.Write([]byte(line + "\r\n")) }
	if s.hang {
		<-ctx.Done()
		return
	}
	say("220 test")
	to, taken := "", false
	for r := bufio.NewScanner(conn); r.Scan(); {
		verb := strings.ToUpper(r.Text())
		switch {
		case taken && s.after == "hang":
			<-ctx.Done()
			return
		case strings.HasPrefix(verb, "RCPT"):
			if to = strings.Trim(r.Text()[len("RCPT TO:"):], "<>"); to == s.refuse {
				say("550 5.1.1 no such user")
				continue
			}
			say("250 ok")
		case verb == "DATA":
			say("354 go ahead")
			for r.Scan() && r.Text() != "." {
			}
			s.mu.Lock()
			s.mails = append(s.mails, to)
			s.mu.Unlock()
			say("250 taken")
			if taken = true; s.after == "close" {
				return
			}
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (s *mailServer) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.mails...)
}

// mailer is a Notifier with an SMTP channel for each recipient.
func mailer(settings *rotatetest.MemStore, port int, to ...string) *Notifier {
	n := &Notifier{Settings: settings}
	for _, addr := range to {
		n.Channels = append(n.Channels, &SMTP{Host: "127.0.0.1", Port: port, Plain: true, From: "k@example.com", To: addr})
	}
	return n
}

func TestOneRefusedRecipientHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := &mailServer{refuse: "gone@example.com"}
	n := mailer(&rotatetest.MemStore{}, s.start(t), "a@example.com", "gone@example.com", "b@example.com")
	n.Observe("ci", create, errDenied)
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(s.taken(), " ")
	if !strings.Contains(got, "a@example.com") || !strings.Contains(got, "b@example.com") || len(s.taken()) != 2 {
		t.Errorf("one of three recipients is refused: mails reached %q, want the other two, once each", got)
	}
}

func TestAMailIsSentWhenItsDataIsTaken(t *testing.T) {
	t.Parallel()
	for _, after := range []string{"", "close", "hang"} {
		s := &mailServer{after: after}
		now := time.Now()
		n := mailer(&rotatetest.MemStore{}, s.start(t), "a@example.com")
		n.Now = func() time.Time { return now }
		n.Observe("ci", create, errDenied)
		for range 5 {
			if err := n.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Hour)
		}
		if got := s.taken(); len(got) != 1 {
			t.Fatalf("the server does %q after it took the data: %d mails, want 1", after, len(got))
		}
	}
}

func TestAMailServerThatHangsIsLeft(t *testing.T) {
	t.Parallel()
	s := &mailServer{hang: true}
	c := &SMTP{Host: "127.0.0.1", Port: s.start(t), Plain: true, From: "k@example.com", To: "a@example.com"}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Send(ctx, Message{ID: "x", Subject: "x"}) }()
	cancel()
	if err := <-done; err == nil {
		t.Error("Send() = nil, want an error")
	}
}
