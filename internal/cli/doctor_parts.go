package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/doctor"
	"github.com/keyrot/keyrot/pkg/notify"
	"github.com/keyrot/keyrot/pkg/publish"
)

// parts are what "keyrot serve" opens and uses, made by the same code and tried.
func (e Env) parts(cfg config.Config, where cloud) []doctor.Part {
	log := logger(e.Err, cfg.Log)
	part := func(name, fix, works string, try func(context.Context, []string) error) doctor.Part {
		return doctor.Part{Name: name, Fix: fix, Try: func(ctx context.Context, users []string) (string, error) { return works, try(ctx, users) }}
	}
	all := []doctor.Part{
		part("settings", "", "they can be used", func(context.Context, []string) error { return unusable(cfg) }),
		part("audit log", "name a file that keyrot can write with audit.path", "it can be written", func(context.Context, []string) error {
			if cfg.Store.Table != "" {
				return nil
			}
			return writable(cfg.Audit.Path)
		}),
		part("server", "choose another address with server.listen, or correct server.tls_*", "it can listen on "+cfg.Server.Listen,
			func(ctx context.Context, _ []string) error {
				_, err := tlsConfig(cfg.Server, log, where.Clock.Now)
				return errors.Join(err, available(ctx, cfg.Server.Listen))
			}),
	}
	for i, t := range cfg.Publish {
		name := fmt.Sprintf("publish[%d]", i)
		all = append(all, part(name, "correct the target; docs/consumers.md has what each needs", cmp.Or(t.Label(), t.Type)+" can be reached",
			func(ctx context.Context, users []string) error {
				p, err := publisher(cfg, t, where.Config, where.Clock.Now, log)
				if err != nil {
					return err
				}
				return reach(ctx, publish.Only{Users: t.Users, To: p}, users)
			}))
	}
	return append(all, part("notify", "correct notify.*, or see that this machine can reach it", "all that are told can be reached",
		func(ctx context.Context, _ []string) error {
			n, err := notifier(cfg.Notify, where.Config, nil, where.Clock.Now, log)
			if err != nil || n == nil {
				return err
			}
			return heard(ctx, n)
		}))
}

// unusable returns what is wrong with the settings, but for the schedule, which
// is a check of its own.
func unusable(cfg config.Config) error {
	err := cfg.Validate()
	joined, ok := err.(interface{ Unwrap() []error }) // errors.Join
	if !ok {
		return err
	}
	var rest []error
	for _, one := range joined.Unwrap() {
		if _, schedule := errors.AsType[config.ScheduleError](one); !schedule {
			rest = append(rest, one)
		}
	}
	return errors.Join(rest...)
}

// writable reports why a file cannot be appended to. One that is not there is made
// by who needs it.
func writable(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// available reports why nobody could listen there.
func available(ctx context.Context, addr string) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return doctor.Doubt{Err: fmt.Errorf("%s is in use, which is well if it is by a running keyrot", addr)}
	}
	if err != nil {
		return fmt.Errorf("server.listen: %w", err)
	}
	return ln.Close()
}

// reachSample is for how many users a target in AWS is tried.
const reachSample = 3

// reach tries a target for the users that it is for: for all of them on this
// machine, for some in AWS.
func reach(ctx context.Context, p publish.Only, users []string) error {
	users = p.Concerned(users)
	switch p.To.(type) {
	case *publish.File:
	case *publish.SecretsManager, *publish.SSM:
		users = users[:min(reachSample, len(users))]
	default:
		users = users[:min(1, len(users))] // the same for all
	}
	var errs []error
	said := map[string]bool{}
	for _, u := range users {
		if err := p.Reach(ctx, u); err != nil && !said[err.Error()] {
			said[err.Error()] = true
			errs = append(errs, fmt.Errorf("for user %s: %w", u, err))
		}
	}
	return errors.Join(errs...)
}

// heard tries every channel that can be tried without a message. SES is asked by a
// check of its own, and SNS cannot be tried.
func heard(ctx context.Context, n *notify.Notifier) error {
	var errs []error
	tried := map[string]bool{}
	for _, c := range n.Channels {
		var err error
		switch c := c.(type) {
		case *notify.SMTP:
			err = c.Reach(ctx)
		case *notify.Slack:
			err = c.Reach(ctx)
		}
		if err != nil && !tried[err.Error()] { // one channel for each recipient
			tried[err.Error()] = true
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
