package getkey

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

// Options are what get-key is told.
type Options struct {
	User, Format, Region             string
	Endpoint, APIKeyFile, CAFile     string
	Identity, OIDCTokenFile          string // instead of an API key
	AllowPlainHTTP, NoCache, NoAgent bool
	Profile                          string // --write-profile
}

// World is what the command has around it.
type World struct {
	Out, Err io.Writer
	Getenv   func(string) string
	Now      func() time.Time
	Fetch    Fetch
	// AWS makes the identity that AWS credentials prove. nil: not in this program.
	AWS func(context.Context) (Identity, error)
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
	f.StringVar(&o.Identity, "identity", getenv("KEYROT_IDENTITY"), "who asks: api-key, oidc or aws (KEYROT_IDENTITY; default by what is given)")
	f.StringVar(&o.OIDCTokenFile, "oidc-token-file", getenv("KEYROT_OIDC_TOKEN_FILE"), "file with an OIDC token that takes the API key's place (KEYROT_OIDC_TOKEN_FILE)")
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
	key, identify, err := w.caller(o)
	if err != nil {
		return err
	}
	s := Source{Endpoint: o.Endpoint, APIKey: key, Identify: identify, CAFile: o.CAFile, AllowPlainHTTP: o.AllowPlainHTTP, Fetch: w.Fetch, Now: w.Now}
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

// Warm does what the options say if the agent or the cache has the answer. done
// is false if not, and nothing is printed then.
func Warm(ctx context.Context, w World, o Options) (done bool) {
	if o.Profile != "" {
		return false
	}
	w.Fetch = nil
	return Run(ctx, w, o) == nil
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
	if o.APIKeyFile == "" && o.Identity == "" && o.OIDCTokenFile == "" {
		_, _ = fmt.Fprintln(w.Err, "keyrot: programs that use it need KEYROT_API_KEY or the agent; --api-key-file would be part of the line")
	}
	return nil
}
