package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/awscall"
	"github.com/keyrot/keyrot/internal/webhook"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// SNS publishes to a topic, as text. A FIFO topic drops repetitions by the
// message's id.
type SNS struct {
	AWS   aws.Config
	Now   func() time.Time // AWS's time, to sign with; nil: time.Now
	Topic string           // ARN
}

// Name implements Channel.
func (s *SNS) Name() string { return "sns" }

// Send implements Channel.
func (s *SNS) Send(ctx context.Context, m Message) error {
	in := url.Values{
		"Action": {"Publish"}, "Version": {"2010-03-31"},
		"TopicArn": {s.Topic}, "Subject": {ascii(m.Subject, 100)}, "Message": {m.Text()},
	}
	if strings.HasSuffix(s.Topic, ".fifo") {
		in.Set("MessageGroupId", "keyrot")
		in.Set("MessageDeduplicationId", m.ID)
	}
	service := awscall.Service{Config: s.AWS, ID: "SNS", Host: "sns", Now: s.Now}
	if a := strings.Split(s.Topic, ":"); len(a) == 6 && a[3] != "" {
		service.Config.Region = a[3] // the topic's own
	}
	return spoken("publishing to SNS", service.Query(ctx, in))
}

// ascii is what SNS takes as a subject: printable ASCII, no longer than most.
func ascii(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.ReplaceAll(s, "…", "..."))
	return s[:min(len(s), most)]
}

// Slack posts to an incoming webhook of Slack, or of one that takes the same.
// The URL is a secret.
type Slack struct {
	URL func() (rotate.Secret, error) // asked at every message
}

// maxSlack bounds a message, in characters: Slack cuts what is longer than
// 40,000, after its entities were put in.
const maxSlack = 36_000

// Name implements Channel.
func (s *Slack) Name() string { return "slack" }

// Reach reports why nobody answers at the webhook's address. Nothing is posted.
func (s *Slack) Reach(ctx context.Context) error {
	url, err := s.URL()
	if err != nil {
		return fmt.Errorf("the webhook's URL: %w", err)
	}
	return webhook.Reach(ctx, url.Reveal())
}

// Send implements Channel.
func (s *Slack) Send(ctx context.Context, m Message) error {
	_, rest, _ := strings.Cut(m.Text(), "\n") // the subject comes in bold
	if r := []rune(rest); len(r) > maxSlack {
		rest = string(r[:maxSlack]) + "…"
	}
	// Slack's three control characters; what users are called must not ping.
	esc := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	body, err := json.Marshal(map[string]string{"text": "*" + esc.Replace(m.Subject) + "*\n" + esc.Replace(rest)})
	if err != nil {
		return errors.New("encoding a message")
	}
	url, err := s.URL()
	if err != nil {
		return fmt.Errorf("the webhook's URL: %w", err)
	}
	err = webhook.Post(ctx, url.Reveal(), m.ID, body, nil, time.Time{})
	if r, ok := errors.AsType[*webhook.Refusal](err); ok && r.RetryAfter > 0 {
		return &Busy{After: r.RetryAfter, Err: err}
	}
	return err
}
