package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/webhook"
	"github.com/keyrot/keyrot/pkg/notify"
	"github.com/keyrot/keyrot/pkg/publish"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// publishers makes the required and the optional targets. It reports all that
// cannot work.
func publishers(cfg config.Config, sdk aws.Config, now func() time.Time, log *slog.Logger) (
	required, optional []rotate.Publisher, err error,
) {
	var errs []error
	for i, t := range cfg.Publish {
		p, err := publisher(cfg, t, sdk, now, log)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				errs = append(errs, fmt.Errorf("publish[%d].%s", i, line))
			}
			continue
		}
		p = publish.Only{Users: t.Users, To: p}
		if t.Optional {
			optional = append(optional, p)
		} else {
			required = append(required, p)
		}
	}
	return required, optional, errors.Join(errs...)
}

// mayCreate refuses files whose readers would not see a new key, before a user has
// its first one. For users who have keys it is a warning: their targets fail by
// themselves, and nobody else waits for that.
func (s *system) mayCreate(ctx context.Context, cfg config.Config) error {
	err := unreachable(cfg, func(string) bool { return true })
	if err == nil {
		return nil
	}
	entries, failed := s.store.List(ctx)
	if failed != nil {
		return failed
	}
	has := map[string]bool{}
	for _, e := range entries {
		has[e.Record.User] = len(e.Record.Keys) > 0
	}
	if err := unreachable(cfg, func(user string) bool { return !has[user] }); err != nil {
		return usage(err, "")
	}
	s.rotator.Log.Warn("a file target would not reach its readers, and will fail", "err", err)
	return nil
}

// unreachable returns an error for each file of a required target whose readers
// would not see a new key.
func unreachable(cfg config.Config, includes func(user string) bool) error {
	u := cfg.Users
	named := len(u.Names) > 0 && u.PathPrefix == "" && u.Tag == "" && !u.All
	var errs []error
	for i, t := range cfg.Publish {
		if t.Type != "file" || t.Optional {
			continue
		}
		f := &publish.File{Path: t.Path, InPlace: t.InPlace}
		covers := publish.Only{Users: t.Users, To: f}.Traits().Covers
		its := func(user string) bool {
			return (covers == nil || covers(user)) && (!named || slices.Contains(u.Names, user)) && includes(user)
		}
		if perUser, _ := publish.CheckName(t.Path); !perUser && len(t.Users) == 1 && !its(t.Users[0]) {
			continue // the file is that user's
		}
		if err := f.Held(its); err != nil {
			errs = append(errs, fmt.Errorf("publish[%d].path: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

func publisher(cfg config.Config, t config.Target, sdk aws.Config, now func() time.Time, log *slog.Logger) (rotate.Publisher, error) {
	props := publish.Properties{
		KeyID: t.Properties.KeyID, Secret: t.Properties.Secret, Expiration: t.Properties.Expiration,
		SESUsername: t.Properties.SESUsername, SESPassword: t.Properties.SESPassword, Region: t.Region,
	}
	switch t.Type {
	case "secretsmanager":
		p := &publish.SecretsManager{AWS: sdk, Now: now, Label: t.Label(), Secrets: t.Secrets, Properties: props}
		errs := []error{perUser(t, "secrets", t.Secrets...)}
		if err := p.Check(cfg.Shortest(t.Users)); err != nil {
			errs = append(errs, fmt.Errorf("secrets: %w", err))
		}
		return p, errors.Join(errs...)
	case "ssm":
		p := &publish.SSM{AWS: sdk, Now: now, Label: t.Label(), Parameter: t.Parameter, KMSKey: t.KMSKey, Properties: props}
		return p, perUser(t, "parameter", t.Parameter)
	case "file":
		var mode uint64
		if t.Mode != "" {
			var err error
			if mode, err = strconv.ParseUint(t.Mode, 8, 32); err != nil {
				return nil, fmt.Errorf("mode: %q is not octal", t.Mode)
			}
		}
		p := &publish.File{
			Label: t.Label(), Path: t.Path, Format: t.Format, Text: t.Text, Region: t.Region, Mode: fs.FileMode(mode), Owner: t.Owner,
			InPlace: t.InPlace,
		}
		return p, errors.Join(p.Check(), perUser(t, "path", t.Path))
	case "hook":
		if err := trustedProgram(t.Command[0]); err != nil {
			return nil, fmt.Errorf("command: %w", err)
		}
		return &publish.Hook{Label: t.Label(), Argv: t.Command, Timeout: t.Timeout, Region: t.Region}, nil
	case "webhook":
		if err := webhook.Check(t.URL); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
		key, err := secretIn(t.KeyFile, log, func(key string) error {
			if len(key) < publish.MinKey {
				return fmt.Errorf("is shorter than %d bytes", publish.MinKey)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("key_file: %w", err)
		}
		return &publish.Webhook{Label: t.Label(), URL: t.URL, Key: key, Now: now, Region: t.Region}, nil
	}
	return nil, fmt.Errorf("type: %q is unknown", t.Type)
}

// trustedProgram refuses a program that others can change. One that is not there
// is reported when it is run: it may come later.
func trustedProgram(name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	return disk.Trusted(path)
}

// perUser refuses names under which several users' pairs would meet.
func perUser(t config.Target, field string, names ...string) error {
	one := len(t.Users) == 1 && !strings.ContainsAny(t.Users[0], `*?[\`)
	for _, name := range names {
		differs, err := publish.CheckName(name)
		if err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		if !differs && !one {
			return fmt.Errorf("%s: %q lacks ${USER}, but holds one user's key only; add it, or name one user in users", field, name)
		}
	}
	return nil
}

// notifier makes the Notifier; nil if nobody is to be told.
func notifier(
	cfg config.Notify, sdk aws.Config, settings rotate.Settings, now func() time.Time, log *slog.Logger,
) (*notify.Notifier, error) {
	n := &notify.Notifier{Settings: settings, Log: log, Instance: cfg.Instance, Digest: notify.Digest(cfg.Digest), Now: now}
	if cfg.SES.From != "" {
		for _, to := range unique(cfg.SES.To) {
			n.Channels = append(n.Channels, &notify.SES{AWS: sdk, Now: now, From: cfg.SES.From, To: to})
		}
	}
	if cfg.SMTP.Host != "" {
		mails, err := smtpChannels(cfg.SMTP, log)
		if err != nil {
			return nil, err
		}
		n.Channels = append(n.Channels, mails...)
	}
	if cfg.SNS.Topic != "" {
		n.Channels = append(n.Channels, &notify.SNS{AWS: sdk, Now: now, Topic: cfg.SNS.Topic})
	}
	if cfg.Slack.URLFile != "" {
		u, err := secretIn(cfg.Slack.URLFile, log, webhook.Check)
		if err != nil {
			return nil, fmt.Errorf("notify.slack.url_file: %w", err)
		}
		n.Channels = append(n.Channels, &notify.Slack{URL: u})
	}
	if len(n.Channels) == 0 {
		return nil, nil
	}
	return n, nil
}

// smtpChannels makes a channel for each recipient.
func smtpChannels(s config.SMTP, log *slog.Logger) (out []notify.Channel, err error) {
	var password func() (rotate.Secret, error)
	if s.PasswordFile != "" {
		if password, err = secretIn(s.PasswordFile, log, func(string) error { return nil }); err != nil {
			return nil, fmt.Errorf("notify.smtp.password_file: %w", err)
		}
	}
	if len(s.To) == 0 {
		return nil, errors.New("notify.smtp.to: nobody is named")
	}
	for _, to := range unique(s.To) {
		c := &notify.SMTP{
			Host: s.Host, Port: s.Port, Implicit: s.TLS == "implicit", Plain: s.TLS == "none",
			Username: s.Username, Password: password, From: s.From, To: to,
		}
		if err := c.Check(); err != nil {
			return nil, fmt.Errorf("notify.smtp.%w", err)
		}
		out = append(out, c)
	}
	return out, nil
}

// unique returns the names once each, in their order.
func unique(names []string) (out []string) {
	for _, name := range names {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// secretIn returns what reads a secret in a file, at every use, and checks it.
func secretIn(path string, log *slog.Logger, check func(string) error) (func() (rotate.Secret, error), error) {
	v := &disk.Value[rotate.Secret]{Path: path, Log: log, Read: func() (rotate.Secret, error) {
		s, err := secretFile(path)
		if err == nil {
			err = check(s.Reveal())
		}
		return s, err
	}}
	_, err := v.Get()
	return v.Get, err
}

// secretFile reads a secret from a file that only its owner can read.
func secretFile(path string) (rotate.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return rotate.Secret{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = disk.Private(path, info)
	}
	if err != nil {
		return rotate.Secret{}, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return rotate.Secret{}, err
	}
	s := strings.TrimSpace(string(raw))
	if s == "" {
		return rotate.Secret{}, fmt.Errorf("%s is empty", path)
	}
	return rotate.NewSecret(s), nil
}
