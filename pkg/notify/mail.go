package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	gomail "github.com/wneessen/go-mail"

	"github.com/keyrot/keyrot/internal/awscall"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// SES sends mails to one receiver through Amazon SES. Sender, and in the SES
// sandbox the receiver, must be verified.
type SES struct {
	AWS  aws.Config
	Now  func() time.Time // AWS's time, to sign with; nil: time.Now
	From string
	To   string
}

// Name implements Channel.
func (s *SES) Name() string { return "ses:" + s.To }

// Send implements Channel.
func (s *SES) Send(ctx context.Context, m Message) error {
	type content struct{ Data, Charset string }
	text := func(data string) content { return content{data, "UTF-8"} }
	in := map[string]any{
		"FromEmailAddress": s.From,
		"Destination":      map[string]any{"ToAddresses": []string{s.To}},
		"Content": map[string]any{"Simple": map[string]any{
			"Subject": text(m.Subject),
			"Body":    map[string]any{"Text": text(m.Text()), "Html": text(m.HTML())},
		}},
	}
	service := awscall.Service{Config: s.AWS, ID: "SESv2", Host: "email", Sign: "ses", Now: s.Now}
	return spoken("sending through SES", service.REST(ctx, "/v2/email/outbound-emails", in, nil))
}

// spoken adds AWS's own words to its error: nothing that is sent here is
// secret, and "Email address is not verified" is in the words only.
func spoken(doing string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*awscall.Error](err); ok && e.Message != "" {
		return fmt.Errorf("%s: %w: %s", doing, err, clean(e.Message))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// SMTP sends mails to one receiver through a mail server: over TLS, or in the
// clear to this machine only.
type SMTP struct {
	Host     string
	Port     int  // default 587, or 465 with Implicit
	Implicit bool // TLS from the first byte; otherwise STARTTLS
	Plain    bool // no TLS; Host must be loopback
	Username string
	Password func() (rotate.Secret, error) // asked at every mail; nil without Username
	From     string
	To       string
}

// smtpTime bounds connecting, logging in, and sending, each.
const smtpTime = 20 * time.Second

// Name implements Channel.
func (s *SMTP) Name() string { return "smtp:" + s.To }

// Check reports settings that cannot work.
func (s *SMTP) Check() error {
	var errs []error
	if s.Host == "" {
		errs = append(errs, errors.New("host: is missing"))
	}
	if s.Plain && s.Implicit {
		errs = append(errs, errors.New("tls: cannot be both none and implicit"))
	}
	if a, err := netip.ParseAddr(s.Host); s.Plain && s.Host != "localhost" && (err != nil || !a.IsLoopback()) {
		errs = append(errs, fmt.Errorf("tls: none is for this machine only, not for %q", s.Host))
	}
	if _, err := s.message(Message{ID: "x", Subject: "x"}); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Send implements Channel. The mail is sent when the server has taken its
// data; how the connection ends after that does not matter.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg, err := s.message(m)
	if err != nil {
		return err
	}
	port := s.port()
	c, hangUp, err := s.client(ctx, port)
	defer hangUp()
	if err != nil {
		return fmt.Errorf("mail server %s: %w", s.Host, err)
	}
	conn, err := c.DialToSMTPClientWithContext(ctx)
	if err == nil {
		err = c.SendWithSMTPClient(conn, msg)
		_, _ = conn.Text.Cmd("QUIT") // nobody waits for the answer
		_ = conn.Close()
	}
	if err != nil {
		return fmt.Errorf("sending to %s through %s: %w", s.To, net.JoinHostPort(s.Host, strconv.Itoa(port)), err)
	}
	return nil
}

// Reach reports why no mail could be sent: it connects as [SMTP.Send] does, logs
// in and sends nothing.
func (s *SMTP) Reach(ctx context.Context) error {
	at := net.JoinHostPort(s.Host, strconv.Itoa(s.port()))
	c, hangUp, err := s.client(ctx, s.port())
	defer hangUp()
	if err != nil {
		return fmt.Errorf("mail server %s: %w", at, err)
	}
	conn, err := c.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return fmt.Errorf("mail server %s: %w", at, err)
	}
	_ = conn.Quit() // nothing was sent
	return nil
}

func (s *SMTP) port() int {
	if s.Implicit {
		return cmp.Or(s.Port, 465)
	}
	return cmp.Or(s.Port, 587)
}

// client returns a client, and what ends its connection in any case.
func (s *SMTP) client(ctx context.Context, port int) (c *gomail.Client, hangUp func(), err error) {
	end := func() {}
	hangUp = func() { end() }
	opts := []gomail.Option{
		gomail.WithTimeout(smtpTime), gomail.WithPort(port),
		gomail.WithoutRset(), // what follows the data does not count
	}
	dial := func(dialing context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(dialing, network, addr)
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			end = func() { stop(); _ = conn.Close() }
		}
		return conn, err
	}
	switch {
	case s.Plain:
		opts = append(opts, gomail.WithTLSPolicy(gomail.NoTLS), gomail.WithDialContextFunc(dial))
	case s.Implicit: // the library dials itself, or it would not log in
		opts = append(opts, gomail.WithSSL())
	default:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithDialContextFunc(dial))
	}
	if s.Username != "" {
		var password rotate.Secret
		if s.Password != nil {
			if password, err = s.Password(); err != nil {
				return nil, hangUp, err
			}
		}
		opts = append(opts, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(s.Username), gomail.WithPassword(password.Reveal()))
	}
	c, err = gomail.NewClient(s.Host, opts...)
	return c, hangUp, err
}

func (s *SMTP) message(m Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg()
	if err := msg.From(s.From); err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	if err := msg.To(s.To); err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	msg.Subject(m.Subject)
	msg.SetMessageIDWithValue(m.ID + "@keyrot.invalid") // the same for every attempt
	msg.SetDateWithValue(m.At)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(gomail.TypeTextPlain, m.Text())
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML())
	return msg, nil
}
