package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	gomail "github.com/wneessen/go-mail"

	"github.com/keyrot/keyrot/internal/awscall"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// SES sends mails through Amazon SES. Sender, and in the SES sandbox the
// receivers, must be verified. AWS keeps it at most 50 receivers.
type SES struct {
	AWS  aws.Config
	Now  func() time.Time // AWS's time, to sign with; nil: time.Now
	From string
	To   []string
}

// Name implements Channel.
func (s *SES) Name() string { return "ses" }

// Send implements Channel.
func (s *SES) Send(ctx context.Context, m Message) error {
	type content struct{ Data, Charset string }
	text := func(data string) content { return content{data, "UTF-8"} }
	in := map[string]any{
		"FromEmailAddress": s.From,
		"Destination":      map[string]any{"ToAddresses": s.To},
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

// SMTP sends mails through a mail server: over TLS, or in the clear to this
// machine only.
type SMTP struct {
	Host     string
	Port     int  // default 587, or 465 with Implicit
	Implicit bool // TLS from the first byte; otherwise STARTTLS
	Plain    bool // no TLS; Host must be loopback
	Username string
	Password rotate.Secret
	From     string
	To       []string
}

// Name implements Channel.
func (s *SMTP) Name() string { return "smtp" }

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

// Send implements Channel.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg, err := s.message(m)
	if err != nil {
		return err
	}
	port := cmp.Or(s.Port, 587)
	opts := []gomail.Option{gomail.WithTimeout(sendTime)}
	switch {
	case s.Plain:
		opts = append(opts, gomail.WithTLSPolicy(gomail.NoTLS))
	case s.Implicit:
		port = cmp.Or(s.Port, 465)
		opts = append(opts, gomail.WithSSL())
	default:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	opts = append(opts, gomail.WithPort(port))
	if s.Username != "" {
		opts = append(opts, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(s.Username), gomail.WithPassword(s.Password.Reveal()))
	}
	c, err := gomail.NewClient(s.Host, opts...)
	if err != nil {
		return fmt.Errorf("mail server %s: %w", s.Host, err)
	}
	if err := c.DialAndSendWithContext(ctx, msg); err != nil {
		return fmt.Errorf("sending through %s: %w", net.JoinHostPort(s.Host, fmt.Sprint(port)), err)
	}
	return nil
}

func (s *SMTP) message(m Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg()
	if err := msg.From(s.From); err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	if len(s.To) == 0 {
		return nil, errors.New("to: nobody is named")
	}
	if err := msg.To(s.To...); err != nil {
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
