package getkey

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

// Options are what get-key is told.
type Options struct {
	User, Format, Region             string
	Endpoint, APIKeyFile, CAFile     string
	AllowPlainHTTP, NoCache, NoAgent bool
	Profile                          string // --write-profile
}

// World is what the command has around it.
type World struct {
	Out, Err io.Writer
	Getenv   func(string) string
	Now      func() time.Time
}

// Flags adds the flags that are get-key's own.
func (o *Options) Flags(f *flag.FlagSet) {
	f.StringVar(&o.User, "user", "", "IAM user (required)")
	f.StringVar(&o.Format, "format", "json", Formats)
	f.StringVar(&o.Region, "region", "", "region of ses-smtp (AWS_REGION)")
	f.BoolVar(&o.AllowPlainHTTP, "allow-plain-http", false, "send the API key unencrypted to other hosts")
	f.BoolVar(&o.NoCache, "no-cache", false, "neither read nor write the local cache")
	f.BoolVar(&o.NoAgent, "no-agent", false, "do not ask the local agent")
	f.StringVar(&o.Profile, "write-profile", "", "write a profile of this name with credential_process into the AWS config file")
}

// ServerFlags adds the flags for the way to the server.
func (o *Options) ServerFlags(f *flag.FlagSet, getenv func(string) string) {
	endpoint := getenv("KEYROT_ENDPOINT")
	if endpoint == "" {
		endpoint = "http://127.0.0.1:8080"
	}
	f.StringVar(&o.Endpoint, "endpoint", endpoint, "URL of the server (KEYROT_ENDPOINT)")
	f.StringVar(&o.APIKeyFile, "api-key-file", getenv("KEYROT_API_KEY_FILE"), "file that holds the API key, unless KEYROT_API_KEY does (KEYROT_API_KEY_FILE)")
	f.StringVar(&o.CAFile, "ca-file", getenv("KEYROT_CA_FILE"), "PEM file with the certificates to trust instead of the system's (KEYROT_CA_FILE)")
}

// Run does what the options say.
func Run(ctx context.Context, w World, o Options) error {
	if o.Region == "" {
		if o.Region = w.Getenv("AWS_REGION"); o.Region == "" {
			o.Region = w.Getenv("AWS_DEFAULT_REGION")
		}
	}
	if o.User == "" {
		return usagef("--user is missing")
	}
	if o.Profile != "" {
		return w.writeProfile(o)
	}
	if err := CheckFormat(o.Format, o.Region); err != nil {
		return err
	}
	key, err := APIKey(w.Getenv("KEYROT_API_KEY"), o.APIKeyFile)
	if err != nil {
		return err
	}
	s := Source{Endpoint: o.Endpoint, APIKey: key, CAFile: o.CAFile, AllowPlainHTTP: o.AllowPlainHTTP, Now: w.Now}
	if !o.NoAgent {
		s.Socket = Socket(w.Getenv)
	}
	if !o.NoCache {
		s.CacheDir = CacheDir(w.Getenv)
	}
	c, err := s.Credential(ctx, o.User)
	if err != nil {
		return err
	}
	return Write(w.Out, o.Format, o.Region, c)
}

func (w World) writeProfile(o Options) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the running program: %w", err)
	}
	command, err := ProcessCommand(self, o)
	if err != nil {
		return err
	}
	path, err := ConfigFile(w.Getenv)
	if err != nil {
		return err
	}
	if err := WriteProfile(path, o.Profile, command); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(w.Err, "keyrot: profile %q in %s now runs\n  %s\n", o.Profile, path, command)
	if o.APIKeyFile == "" {
		_, _ = fmt.Fprintln(w.Err, "keyrot: programs that use it need KEYROT_API_KEY or the agent; --api-key-file would be part of the line")
	}
	return nil
}

// badInput are errors that need another input, not another try.
var badInput = []error{ErrUsage, ErrNoAPIKey, api.ErrForbidden, api.ErrNotAllowed, api.ErrBadRequest, api.ErrUnknownUser, client.ErrPlainHTTP}

// BadInput reports whether what was given must change before err goes away.
func BadInput(err error) bool {
	for _, bad := range badInput {
		if errors.Is(err, bad) {
			return true
		}
	}
	return false
}

// advice are hints for errors that do not bring their own.
var advice = []struct {
	err  error
	hint string
}{
	{ErrNoAPIKey, `set KEYROT_API_KEY or --api-key-file; "keyrot api-key create" makes one`},
	{client.ErrUnreachable, `start it with "keyrot serve", or name it with --endpoint or KEYROT_ENDPOINT`},
	{client.ErrPlainHTTP, "use an https:// endpoint"},
	{client.ErrNotKeyrot, "check --endpoint: something else answers there"},
	{api.ErrForbidden, `check KEYROT_API_KEY or --api-key-file; "keyrot api-key list" shows the keys there are`},
	{api.ErrUnauthorized, "check the clocks of both machines"},
	{api.ErrNotAllowed, `make a key for this user with "keyrot api-key create --users"`},
	{api.ErrUnknownUser, `"keyrot status" lists the users that the server manages`},
	{api.ErrNoKeyReady, "try again in a few seconds; the server's log says what it waits for"},
}

// Hint returns what to do about err, or "".
func Hint(err error) string {
	if h := hint.Of(err); h != "" {
		return h
	}
	for _, a := range advice {
		if errors.Is(err, a.err) {
			return a.hint
		}
	}
	return ""
}

// Report tells a person what went wrong, each problem on a line, then a hint,
// and returns the exit code.
func Report(w io.Writer, program string, err error) (code int) {
	if err == nil {
		return 0
	}
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintf(w, "%s: error: %s\n", program, strings.TrimSuffix(line, "\n"))
	}
	if h := Hint(err); h != "" {
		_, _ = fmt.Fprintf(w, "%s: hint: %s\n", program, h)
	}
	if BadInput(err) {
		return 2
	}
	return 1
}
