//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/awscall"
	"github.com/keyrot/keyrot/pkg/notify"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/test/freeport"
)

// startSMTP starts a mail server that keeps what it gets in a maildir.
func startSMTP(t *testing.T, dir string) (host string, port int) {
	t.Helper()
	return startSMTPWith(t, "aiosmtpd.handlers.Mailbox", filepath.Join(dir, "mail"))
}

// pickyHandler is a handler of aiosmtpd's that knows not every recipient.
const pickyHandler = `
import aiosmtpd.handlers

class Picky(aiosmtpd.handlers.Mailbox):
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"
`

// startSMTPWith starts a mail server with a handler and its arguments.
func startSMTPWith(t *testing.T, handler string, args ...string) (host string, port int) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "picky.py"), []byte(pickyHandler), 0o600); err != nil {
		t.Fatal(err)
	}
	bin, err := installed("venv", "bin", "aiosmtpd")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := freeport.Addr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, append([]string{"-n", "-l", addr, "-c", handler}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Process{cmd: cmd, done: make(chan error, 1)}
	go func() { p.done <- cmd.Wait() }()
	t.Cleanup(p.Stop)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for end := time.Now().Add(startTimeout); time.Now().Before(end); <-tick.C {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			host, text, _ := net.SplitHostPort(addr)
			port, _ = strconv.Atoi(text)
			return host, port
		}
	}
	t.Fatal("the mail server does not answer")
	return "", 0
}

// trouble makes a Notifier tell of one through the channel.
func trouble(t *testing.T, c notify.Channel) {
	t.Helper()
	n := &notify.Notifier{Settings: &rotatetest.MemStore{}, Channels: []notify.Channel{c}, Instance: "test"}
	n.Observe("ci", plan.Step{Action: plan.Create}, errors.New("AWS said <no> to AKIAIOSFODNN7EXAMPLE"))
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

const wantSubject = "[keyrot test] ci: creating a key fails"

func TestMailReachesAnSMTPServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	host, port := startSMTP(t, dir)
	trouble(t, &notify.SMTP{Host: host, Port: port, Plain: true, From: "keyrot@example.com", To: "ops@example.com"})
	files, _ := filepath.Glob(filepath.Join(dir, "mail", "new", "*"))
	if len(files) != 1 {
		t.Fatalf("%d mails, want 1", len(files))
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := mail.ReadMessage(f)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Header.Get("Subject"); got != wantSubject {
		t.Errorf("subject = %q, want %q", got, wantSubject)
	}
	if got := m.Header.Get("Message-Id"); !strings.HasSuffix(got, "-1@keyrot.invalid>") {
		t.Errorf("message id = %q, want the outbox's", got)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err != nil {
			break
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		raw, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		parts[kind] = string(raw)
	}
	if !strings.Contains(parts["text/plain"], "AWS said <no> to AKIA…LE") || !strings.Contains(parts["text/html"], "AWS said &lt;no&gt; to AKIA…LE") {
		t.Errorf("parts = %v", parts)
	}
}

func TestMailReachesTheRecipientsThatExist(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mail")
	host, port := startSMTPWith(t, "picky.Picky", dir)
	n := &notify.Notifier{Settings: &rotatetest.MemStore{}}
	for _, to := range []string{"a@example.com", "gone@example.com", "b@example.com"} {
		n.Channels = append(n.Channels, &notify.SMTP{Host: host, Port: port, Plain: true, From: "keyrot@example.com", To: to})
	}
	n.Observe("ci", plan.Step{Action: plan.Create}, errors.New("no"))
	for range 3 {
		if err := n.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := mail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Header.Get("To"))
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"<a@example.com>", "<b@example.com>"}) {
		t.Errorf("one of three recipients is refused: mails went to %q, want the other two, once each", got)
	}
}

func TestMailReachesMotosSES(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m, err := StartMoto(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	cfg := config(m.URL, aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "any"})
	c := &notify.SES{AWS: cfg, From: "keyrot@example.com", To: "ops@example.com"}
	if err := c.Send(ctx, notify.Message{Subject: "x"}); err == nil || !strings.Contains(err.Error(), "not verified") {
		t.Errorf("Send() from a stranger = %v, want AWS's words", err)
	}
	ses := awscall.Service{Config: cfg, ID: "SESv2", Host: "email", Sign: "ses"}
	if err := ses.REST(ctx, "/v2/email/identities", map[string]string{"EmailIdentity": c.From}, nil); err != nil {
		t.Fatal(err)
	}
	trouble(t, c)
	res, err := http.Get(m.URL + "/moto-api/data.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var data struct {
		SES struct{ Message []map[string]any } `json:"ses"`
	}
	if err := json.Unmarshal(raw, &data); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(data.SES.Message); len(data.SES.Message) != 1 || !strings.Contains(got, wantSubject) || !strings.Contains(got, "AKIA…LE") {
		t.Errorf("SES has %s, want one mail", got)
	}
}

func TestNoticeReachesMotosSNS(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m, err := StartMoto(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	cfg := config(m.URL, aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "any"})
	topic := "arn:aws:sns:us-east-1:123456789012:ops"
	c := &notify.SNS{AWS: cfg, Topic: topic}
	msg := notify.Message{ID: "a-1", Subject: "[keyrot] ünïcode", At: time.Now()}
	if err := c.Send(ctx, msg); err == nil || !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("Send() to no topic = %v, want NotFound", err)
	}
	sns := awscall.Service{Config: cfg, ID: "SNS", Host: "sns"}
	if err := sns.Query(ctx, map[string][]string{"Action": {"CreateTopic"}, "Version": {"2010-03-31"}, "Name": {"ops"}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, msg); err != nil {
		t.Errorf("Send() = %v", err)
	}
}
