package cli

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/local"
	"github.com/keyrot/keyrot/internal/getkey/quick"
	"github.com/keyrot/keyrot/internal/sdnotify"
	"github.com/keyrot/keyrot/pkg/agent"
	"github.com/keyrot/keyrot/pkg/api"
)

type agentOptions struct {
	common
	Users          []string
	Listen         string
	Socket         string
	TokenFile      string
	AllowPlainHTTP bool
}

func newAgentCmd(run func(context.Context, agentOptions) error) *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent --users USER,...",
		Short: "Keep credentials fresh for the programs on this machine",
		Long: `Keep the credentials of some users fresh and answer for them on this machine,
until SIGTERM or SIGINT: to AWS SDKs on a loopback address (set
AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE as
printed), to "keyrot get-key" on a unix socket that only you can open. It ends
at once if it cannot get all credentials; later, what it has is handed out until
its Expiration. GET /metrics counts. The token file is read at every request:
replace its content to change the token.`,
		Example: "  keyrot agent --users ci,mailer",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			return toldToEnd(cmd.Context(), run(cmd.Context(), o))
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Users, "users", nil, "IAM users to answer for (required)")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:9911", "loopback HOST:PORT for SDKs")
	f.StringVar(&o.Socket, "socket", "", "unix socket for get-key (default $KEYROT_AGENT_SOCKET, or in $XDG_RUNTIME_DIR/keyrot)")
	f.StringVar(&o.TokenFile, "token-file", "", "file with the token that SDKs present, made if missing (default beside the socket)")
	f.BoolVar(&o.AllowPlainHTTP, "allow-plain-http", false, "send the API key unencrypted to other hosts")
	clientFlags(f)
	return cmd
}

func (e Env) agent(ctx context.Context, o agentOptions) error {
	if len(o.Users) == 0 {
		return usagef("--users is missing")
	}
	if err := o.defaults(e.Getenv); err != nil {
		return err
	}
	cfg, err := e.loadClient(o.common)
	if err != nil {
		return err
	}
	defer ignoreHangup(logger(e.Err, cfg.Log))()
	source, err := e.newClient(ctx, o.common, o.AllowPlainHTTP)
	if err != nil {
		return err
	}
	token, err := agent.TokenFile(o.TokenFile)
	if err != nil {
		return usage(err, "")
	}
	a := &agent.Agent{Source: source, Users: o.Users, Token: token, Log: logger(e.Err, cfg.Log), Now: source.Time}
	socket, err := agent.ListenSocket(ctx, o.Socket)
	if err != nil {
		return usage(err, "end the other agent, or choose another --socket")
	}
	defer func() { _ = socket.Close() }() // closed already unless starting fails
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return usage(fmt.Errorf("--listen: %w", err), "choose another address with --listen")
	}
	defer func() { _ = ln.Close() }()
	if err := a.Start(ctx); err != nil {
		return err
	}
	for _, user := range o.Users {
		_, _ = fmt.Fprintf(e.Out, "# %s\nexport AWS_CONTAINER_CREDENTIALS_FULL_URI=%s\n", user,
			getkey.Quote("http://"+ln.Addr().String()+api.PathContainer+user))
	}
	_, _ = fmt.Fprintf(e.Out, "export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=%s\n", getkey.Quote(o.TokenFile))
	if e.Getenv("HTTP_PROXY")+e.Getenv("http_proxy")+e.Getenv("ALL_PROXY")+e.Getenv("all_proxy") != "" {
		_, _ = fmt.Fprintf(e.Out, "# no proxy reaches these addresses\nexport NO_PROXY=%[1]s no_proxy=%[1]s\n",
			getkey.Quote(noProxy(cmp.Or(e.Getenv("no_proxy"), e.Getenv("NO_PROXY")))))
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { a.Run(ctx); return nil })
	g.Go(func() error { return agent.Serve(ctx, ln, a.Handler()) })
	g.Go(func() error { return local.Serve(ctx, socket, a.Give) })
	g.Go(func() error { sdnotify.Watchdog(ctx, e.Getenv, a.Alive); return nil })
	if err := sdnotify.Notify(e.Getenv, sdnotify.Ready); err != nil {
		_, _ = fmt.Fprintln(e.Err, "keyrot:", err)
	}
	<-ctx.Done()
	_ = sdnotify.Notify(e.Getenv, sdnotify.Stopping) // it ends either way
	return g.Wait()
}

// defaults fills in the paths and checks what must hold before anything is
// opened.
func (o *agentOptions) defaults(getenv func(string) string) error {
	if host, _, err := net.SplitHostPort(o.Listen); err != nil {
		return usagef("--listen: %q is not HOST:PORT", o.Listen)
	} else if addr, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !addr.IsLoopback()) {
		return usagef("--listen: %q is not a loopback address", o.Listen)
	}
	if o.Socket == "" {
		if o.Socket = quick.Socket(getenv); o.Socket == "" {
			return usagef("--socket is missing and there is no folder for it")
		}
	}
	if o.TokenFile == "" {
		o.TokenFile = filepath.Join(filepath.Dir(o.Socket), "agent.token")
	}
	full, err := filepath.Abs(o.TokenFile)
	if err != nil {
		return usagef("--token-file: %w", err)
	}
	o.TokenFile = full
	if len(o.Socket) > 100 && os.PathSeparator == '/' {
		return usagef("--socket: %s is longer than a socket's path may be", o.Socket)
	}
	return nil
}
