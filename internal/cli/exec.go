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
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/pkg/agent"
	"github.com/keyrot/keyrot/pkg/api"
)

type execOptions struct {
	common
	User           string
	Command        []string
	Via            string // viaContainer or viaProcess
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
keys, profiles and keyrot's own API key are taken out of its environment, and
NO_PROXY gets the endpoint's address. Signals are passed on, and its exit code
is the exit code; 127 if there is no such command, 128 and the signal's number
if a signal ended it.

SDKs look into ~/.aws/credentials and ~/.aws/config first: the former is hidden
from the command, a default profile with credentials in the latter would win,
which is said. With "--via process" the command gets a private AWS config file
instead, whose default profile asks keyrot and keeps its other settings: for
such a profile, and for SDKs that want a session token from an endpoint
(JavaScript version 2).`,
		Example: "  keyrot exec --user ci -- aws s3 ls\n  keyrot exec --user ci --via process -- node old.js",
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
	f.StringVar(&o.Via, "via", viaContainer, "how the command's SDK asks: container (an endpoint) or process (credential_process)")
	f.BoolVar(&o.AllowPlainHTTP, "allow-plain-http", false, "send the API key unencrypted to other hosts")
	clientFlags(f)
	return cmd
}

func (e Env) exec(ctx context.Context, o execOptions) error {
	if o.User == "" {
		return usagef("--user is missing")
	}
	if o.Via != viaContainer && o.Via != viaProcess {
		return usagef("--via: %q is neither %s nor %s", o.Via, viaContainer, viaProcess)
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
	// What answers lives as long as the child, which may outlive a signal.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer func() { stop(); wg.Wait() }()
	wg.Go(func() { a.Run(serving) })
	env := childEnv(os.Environ())
	if o.Via == viaProcess {
		dir, err := os.MkdirTemp("", "keyrot-exec-")
		if err != nil {
			return fmt.Errorf("making a folder for the command's AWS config file: %w", err)
		}
		defer func() { stop(); wg.Wait(); _ = os.RemoveAll(dir) }() // it holds no secret
		more, err := e.processEnv(serving, dir, &getkey.Options{User: o.User, Endpoint: cfg.Client.Endpoint}, a, &wg)
		if err != nil {
			return err
		}
		return e.child(o.Command, append(env, more...))
	}
	e.warnOfProfile(o.User)
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening the endpoint: %w", err)
	}
	wg.Go(func() { _ = agent.Serve(serving, ln, a.Handler()) })
	return e.child(o.Command, append(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN="+token,
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://"+ln.Addr().String()+api.PathContainer+o.User))
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
	"AWS_CREDENTIAL_PROFILES_FILE", // Java version 1 knows no other name
	"KEYROT_API_KEY", "KEYROT_API_KEY_FILE", "KEYROT_OIDC_TOKEN_FILE", signingVariable, "KEYROT_SEAL_KEY",
}

// childEnv returns the child's environment, but for where it gets credentials.
func childEnv(env []string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(hidden, name)
	})
	for _, name := range []string{"NO_PROXY", "no_proxy"} { // some programs read one, some the other
		value := ""
		out = slices.DeleteFunc(out, func(kv string) bool {
			v, is := strings.CutPrefix(kv, name+"=")
			if is {
				value = v
			}
			return is
		})
		out = append(out, name+"="+noProxy(value))
	}
	return append(out, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_CREDENTIAL_PROFILES_FILE="+os.DevNull)
}

// noProxy returns the value of NO_PROXY with the addresses that no proxy can
// reach for this machine.
func noProxy(value string) string {
	hosts := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
	if slices.Contains(hosts, "*") { // everything; but for some only if it stands alone
		return value
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return strings.Join(hosts, ",")
}
