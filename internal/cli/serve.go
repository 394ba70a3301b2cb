package cli

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/rotate"
)

type serveOptions struct {
	common
	Sandbox bool
}

func newServeCmd(run func(context.Context, serveOptions) error) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Rotate keys on schedule and hand out the active ones over HTTP",
		Long: `Rotate keys on schedule and hand out the active ones over HTTP, until SIGTERM
or SIGINT: then no new request is taken, and what is under way is finished.

With --sandbox the same daemon works on an AWS inside the process, with three
demo users and a temporary store. In the sandbox only, KEYROT_API_KEY sets the
API key. Try: --rotate-every 20s --deactivate-after 24s --delete-after 30s`,
		Example: "  keyrot serve --sandbox\n  keyrot serve --users ci,mailer",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			return toldToEnd(cmd.Context(), run(cmd.Context(), o))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Sandbox, "sandbox", false, "work on an AWS inside the process")
	setting(f, "server.listen", "listen", "HOST:PORT (default 127.0.0.1:8080)")
	setting(f, "server.tls_cert", "tls-cert", "PEM file with the certificate")
	setting(f, "server.tls_key", "tls-key", "PEM file with the certificate's key")
	setting(f, "server.client_ca", "client-ca", "PEM file of authorities that clients' certificates must descend from")
	setting(f, "server.metrics", "metrics", "who may read /metrics: viewer (default), open or off")
	settingBool(f, "server.allow_plain_http", "allow-plain-http", "listen beyond loopback without TLS")
	scheduleFlags(f)
	selectionFlags(f)
	storeFlags(f)
	setting(f, "existing_keys", "existing-keys", "keys that were there before: refuse or retire")
	return cmd
}

func (e Env) serve(ctx context.Context, o serveOptions) (err error) {
	if o.Sandbox {
		return e.serveSandbox(ctx, o)
	}
	cfg, err := e.loadValid(o.common)
	if err != nil {
		return err
	}
	if cfg.Users.Empty() {
		return rotate.ErrNoUsers
	}
	defer ignoreHangup(logger(e.Err, cfg.Log))()
	aws, err := e.connectAWS(ctx, cfg)
	if err == nil && storeExists(cfg) != nil { // without a key to serve it would only look alive
		err = identified(ctx, aws.Config)
	}
	if err != nil {
		return err
	}
	ln, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }() // closed already unless opening fails
	made := e.first(cfg)
	s, err := open(ctx, e, cfg, aws)
	if err != nil {
		return err
	}
	made()
	defer func() { err = errors.Join(err, within(endTime, func() error { return s.close(ctx) })) }()
	if err := s.mayCreate(ctx, cfg); err != nil {
		return err
	}
	s.forewarn(ctx, e, cfg)
	_, _ = fmt.Fprintf(e.Err, "keyrot: serving on %s\n", baseURL(cfg, ln))
	return s.run(ctx, ln)
}

// run rotates and serves until ctx ends, one of the two fails, or the guard says
// that neither is possible. Then what hangs is not waited for.
func (s *system) run(ctx context.Context, ln net.Listener) error {
	defer limitMemory()()
	profiles, err := s.listenProfiles(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	if profiles != nil {
		g.Go(func() error { return serveProfiles(ctx, profiles) })
	}
	g.Go(func() error { return collectLess(ctx) })
	g.Go(func() error { return s.rotator.Run(ctx) })
	g.Go(func() error { return s.late.Run(ctx) })
	if s.health != nil {
		g.Go(func() error { return s.foresee(ctx) })
	}
	g.Go(func() error { return s.server.Serve(ctx, ln) })
	if s.notify != nil {
		g.Go(func() error { return s.notify.Run(ctx) })
		g.Go(func() error { return s.watch.Run(ctx) })
	}
	if s.pruner != nil {
		g.Go(func() error { return s.pruner.Run(ctx) })
	}
	ended := make(chan error, 1)
	g.Go(func() error {
		err := s.guard.Run(ctx)
		if err != nil {
			ended <- err
		}
		return err
	})
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	select {
	case err := <-done:
		return err
	case err := <-ended:
		_ = within(endTime, func() error { return <-done })
		return err
	}
}

func listen(ctx context.Context, cfg config.Config) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Server.Listen)
	if err != nil {
		return nil, usage(fmt.Errorf("server.listen: %w", err), "choose another address with --listen")
	}
	return ln, nil
}

func baseURL(cfg config.Config, ln net.Listener) string {
	scheme := "http"
	if cfg.Server.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + ln.Addr().String()
}
