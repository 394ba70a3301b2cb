package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/pkg/agent"
	"github.com/keyrot/keyrot/pkg/api"
)

type execOptions struct {
	common
	User           string
	Command        []string
	AllowPlainHTTP bool
}

// childError is the exit code of a child that did not succeed.
type childError int

func (c childError) Error() string { return fmt.Sprintf("the command ended with code %d", int(c)) }

func newExecCmd(run func(context.Context, execOptions) error) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec --user USER -- COMMAND [ARG]...",
		Short: "Run a command whose AWS SDK keeps refreshing the user's key",
		Long: `Run a command with a private endpoint on a loopback address, from which its AWS
SDK takes the user's credentials, again and again through rotations. Static
keys, profiles and keyrot's own API key are taken out of its environment.
Signals are passed on, and its exit code is the exit code; 127 if there is no
such command, 128 and the signal's number if a signal ended it.

SDKs look into ~/.aws/credentials and ~/.aws/config first: the former is hidden
from the command, a default profile with credentials in the latter would win.`,
		Example: "  keyrot exec --user ci -- aws s3 ls",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			o.Command = args
			return run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // the command's flags are its own
	f.StringVar(&o.User, "user", "", "IAM user (required)")
	f.BoolVar(&o.AllowPlainHTTP, "allow-plain-http", false, "send the API key unencrypted to other hosts")
	clientFlags(f)
	return cmd
}

func (e Env) exec(ctx context.Context, o execOptions) error {
	if o.User == "" {
		return usagef("--user is missing")
	}
	cfg, err := e.loadClient(o.common)
	if err != nil {
		return err
	}
	source, err := e.newClient(ctx, o.common, o.AllowPlainHTTP)
	if err != nil {
		return err
	}
	token := rand.Text() + rand.Text()
	a := &agent.Agent{
		Source: source, Users: []string{o.User}, Token: func() (string, error) { return token, nil },
		Log: logger(e.Err, cfg.Log), Now: source.Time,
	}
	if err := a.Start(ctx); err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening the endpoint: %w", err)
	}
	// The endpoint lives as long as the child, which may outlive a signal.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{}, 2)
	go func() { a.Run(serving); done <- struct{}{} }()
	go func() { _ = agent.Serve(serving, ln, a.Handler()); done <- struct{}{} }()
	defer func() { stop(); <-done; <-done }()
	url := "http://" + ln.Addr().String() + api.PathContainer + o.User
	return e.child(o.Command, childEnv(os.Environ(), url, token))
}

// child runs the command until it ends. Signals that come meanwhile are its.
func (e Env) child(command, env []string) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, passedOn()...)
	defer signal.Stop(signals)
	// Not CommandContext: it is for the child to decide what a signal means.
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // what the user asked for
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, e.Out, os.Stderr
	if err := cmd.Start(); err != nil {
		_, _ = fmt.Fprintf(e.Err, "keyrot: error: starting the command: %v\n", err)
		return childError(127)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			// A terminal has sent it to the whole group already.
			if keyboard := s == os.Interrupt || s == syscall.SIGQUIT; !keyboard || !onTerminal() {
				_ = cmd.Process.Signal(s) // it may just have ended
			}
		case err := <-ended:
			return childResult(err)
		}
	}
}

func childResult(err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("running the command: %w", err)
	}
	if code := exit.ExitCode(); code >= 0 {
		return childError(code)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return childError(128 + int(status.Signal()))
	}
	return childError(1)
}

func onTerminal() bool {
	info, err := os.Stdin.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && runtime.GOOS != "windows"
}

// hidden are the variables that would give the child other credentials, or
// keyrot's.
var hidden = []string{
	"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
	"AWS_CREDENTIAL_EXPIRATION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
	"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_SHARED_CREDENTIALS_FILE",
	"KEYROT_API_KEY", "KEYROT_API_KEY_FILE", "KEYROT_OIDC_TOKEN_FILE", signingVariable, "KEYROT_SEAL_KEY",
}

// childEnv returns the child's environment.
func childEnv(env []string, url, token string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(hidden, name)
	})
	for _, name := range []string{"NO_PROXY", "no_proxy"} { // a proxy cannot reach this address
		for i, kv := range out {
			if rest, ok := strings.CutPrefix(kv, name+"="); ok {
				out[i] = name + "=" + strings.TrimPrefix(rest+",127.0.0.1", ",")
			}
		}
	}
	if !slices.ContainsFunc(out, func(kv string) bool { return strings.HasPrefix(strings.ToUpper(kv), "NO_PROXY=") }) {
		out = append(out, "NO_PROXY=127.0.0.1")
	}
	return append(out, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+url, "AWS_CONTAINER_AUTHORIZATION_TOKEN="+token,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
}
