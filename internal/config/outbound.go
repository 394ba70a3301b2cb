package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Target is where new pairs are copied to.
type Target struct {
	// Name tells it from the others, in logs and in what is remembered about
	// who has which pair. Default: its type.
	Name string `mapstructure:"name"`
	// Type is secretsmanager, ssm, file, hook or webhook. Required.
	Type string `mapstructure:"type"`
	// Optional: a key is handed out before this target confirms it, and the
	// target is tried again until it does. Default false: it must confirm.
	Optional bool `mapstructure:"optional"`
	// Users are names or patterns. Default all.
	Users []string `mapstructure:"users"`

	// Secrets are names or ARNs for secretsmanager, written in turn; ${USER}
	// is expanded. One secret takes a new value every 14.4 minutes at most.
	Secrets []string `mapstructure:"secrets"`
	// Parameter is the name for ssm; ${USER} is expanded.
	Parameter string `mapstructure:"parameter"`
	// KMSKey encrypts the parameter. Default: the account's own.
	KMSKey string `mapstructure:"kms_key"`
	// Properties name the members of the JSON object of secretsmanager and
	// ssm. Others in it are kept.
	Properties Properties `mapstructure:"properties"`

	// Region is that of the SES endpoint whose SMTP credentials the target gets.
	// Default none: it gets none.
	Region string `mapstructure:"region"`

	// Path is the file; ${USER} is expanded.
	Path string `mapstructure:"path"`
	// Format is ini, env or json. Default ini, unless Text is given.
	Format string `mapstructure:"format"`
	// Text is the file's content, with ${ACCESS_KEY_ID}, ${SECRET_ACCESS_KEY},
	// ${USER}, ${CREATED}, ${EXPIRATION} and, with Region, ${SES_SMTP_USERNAME} and
	// ${SES_SMTP_PASSWORD} expanded. ${NAME_URL} is NAME as a part of a URL.
	Text string `mapstructure:"text"`
	// Mode are the file's permissions, in quotes. Default "0600".
	Mode string `mapstructure:"mode"`
	// Owner is USER, USER:GROUP or :GROUP. Default: who keyrot runs as.
	Owner string `mapstructure:"owner"`
	// InPlace: the file is written into, instead of a new one taking its place,
	// for readers that would go on with the old one: a container into which the
	// file is mounted by itself, another hard link. A reader can see half of it
	// for a moment. Default false.
	InPlace bool `mapstructure:"in_place"`

	// Command is the hook's program and its arguments.
	Command []string `mapstructure:"command"`
	// Timeout bounds the hook, at most 40s. Default 10s.
	Timeout time.Duration `mapstructure:"timeout"`

	// URL is the webhook's.
	URL string `mapstructure:"url"`
	// KeyFile holds the key that the webhook is signed with, mode 0600.
	KeyFile string `mapstructure:"key_file"`
}

// Properties name members of a JSON object.
type Properties struct {
	KeyID      string `mapstructure:"access_key_id"`     // default access_key_id
	Secret     string `mapstructure:"secret_access_key"` // default secret_access_key
	Expiration string `mapstructure:"expiration"`        // default none
	// SESUsername and SESPassword are SES's SMTP credentials, and need Region.
	SESUsername string `mapstructure:"ses_smtp_username"` // default none
	SESPassword string `mapstructure:"ses_smtp_password"` // default none
}

// Notify is who is told, and how. A channel is used when its first key is set.
type Notify struct {
	// Digest is how rotations are told: each, hourly or daily. Troubles are
	// told at once. Default daily.
	Digest string `mapstructure:"digest"`
	// Instance names this keyrot in subjects. Default none.
	Instance string `mapstructure:"instance"`
	SES      SES    `mapstructure:"ses"`
	SMTP     SMTP   `mapstructure:"smtp"`
	SNS      SNS    `mapstructure:"sns"`
	Slack    Slack  `mapstructure:"slack"`
}

// SES is Amazon SES.
type SES struct {
	From string   `mapstructure:"from"` // a verified sender
	To   []string `mapstructure:"to"`   // the recipients; in SES's sandbox they must be verified, too
}

// SMTP is a mail server.
type SMTP struct {
	Host         string   `mapstructure:"host"`          // name or address; default none
	Port         int      `mapstructure:"port"`          // default 587, or 465 with implicit TLS
	TLS          string   `mapstructure:"tls"`           // starttls, implicit, or none (to this machine only); default starttls
	Username     string   `mapstructure:"username"`      // default none: no log-in
	PasswordFile string   `mapstructure:"password_file"` // mode 0600; read at every mail
	From         string   `mapstructure:"from"`          // the sender
	To           []string `mapstructure:"to"`            // the recipients
}

// SNS is a topic.
type SNS struct {
	Topic string `mapstructure:"topic"` // ARN
}

// Slack is an incoming webhook, of Slack or compatible.
type Slack struct {
	URLFile string `mapstructure:"url_file"` // holds the URL, which is a secret; mode 0600; read at every message
}

// longestHook bounds a hook's timeout: the user's lease, a minute, must outlast
// the call.
const longestHook = 40 * time.Second

// Label is the target's name.
func (t Target) Label() string {
	if t.Name != "" {
		return t.Name
	}
	return t.Type
}

func (c Config) validateOutbound() []error {
	errs := append(c.validateTargets(), c.Notify.SMTP.validate()...)
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	n := c.Notify
	if !slices.Contains([]string{"each", "hourly", "daily"}, n.Digest) {
		bad("notify.digest: %q is not one of each, hourly, daily", n.Digest)
	}
	if (n.SES.From == "") != (len(n.SES.To) == 0) {
		bad("notify.ses.from, notify.ses.to: give both or none")
	}
	if !slices.Contains([]string{"starttls", "implicit", "none"}, n.SMTP.TLS) {
		bad("notify.smtp.tls: %q is not one of starttls, implicit, none", n.SMTP.TLS)
	}
	if t := n.SNS.Topic; t != "" && (!strings.HasPrefix(t, "arn:") || strings.Count(t, ":") != 5) {
		bad("notify.sns.topic: %q is not the ARN of a topic", t)
	}
	return errs
}

// Shortest returns the shortest rotation interval that any of the users may
// have. nil stands for all.
func (c Config) Shortest(users []string) time.Duration {
	if len(users) > 0 && !strings.ContainsAny(strings.Join(users, ""), `*?[\`) {
		d := c.Policy(users[0]).RotateEvery
		for _, u := range users[1:] {
			d = min(d, c.Policy(u).RotateEvery)
		}
		return d
	}
	d := c.Schedule.policy().RotateEvery
	for _, o := range c.Overrides {
		d = min(d, o.over(c.Schedule).policy().RotateEvery)
	}
	return d
}
