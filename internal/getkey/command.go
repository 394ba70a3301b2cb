package getkey

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/getkey/quick"
	"github.com/keyrot/keyrot/internal/trust"
	"github.com/keyrot/keyrot/pkg/api"
)

// Options are what get-key is told.
type Options struct {
	User, Format, Region             string
	Endpoint, APIKeyFile, CAFile     string
	Identity, OIDCTokenFile          string // instead of an API key
	AllowPlainHTTP, NoCache, NoAgent bool
	Profile                          string // --write-profile
	Stdin                            bool   // format what a publish hook gets on standard input
}

// World is what the command has around it.
type World struct {
	In       io.Reader // for --stdin; nil: nothing
	Out, Err io.Writer
	Getenv   func(string) string
	Now      func() time.Time
	Fetch    Fetch // nil: agent and cache only
	// Profile does what --write-profile says.
	Profile func(*World, *Options) error
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
	f.BoolVar(&o.Stdin, "stdin", false, "print the key that a publish hook gets on standard input; nobody is asked")
	f.StringVar(&o.Profile, "write-profile", "", "write a profile of this name with credential_process into the AWS config file")
}

// ServerFlags adds the flags for the way to the server.
func (o *Options) ServerFlags(f *flag.FlagSet, getenv func(string) string) {
	endpoint := getenv("KEYROT_ENDPOINT")
	if endpoint == "" {
		endpoint = quick.Endpoint
	}
	f.StringVar(&o.Endpoint, "endpoint", endpoint, "URL of the server (KEYROT_ENDPOINT)")
	f.StringVar(&o.APIKeyFile, "api-key-file", getenv("KEYROT_API_KEY_FILE"),
		"file that holds the API key, unless KEYROT_API_KEY does (KEYROT_API_KEY_FILE)")
	f.StringVar(&o.Identity, "identity", getenv("KEYROT_IDENTITY"),
		"the caller's identity: api-key, oidc or aws (KEYROT_IDENTITY; default by what is given)")
	f.StringVar(&o.OIDCTokenFile, "oidc-token-file", getenv("KEYROT_OIDC_TOKEN_FILE"),
		"file with an OIDC token that takes the API key's place (KEYROT_OIDC_TOKEN_FILE)")
	f.StringVar(&o.CAFile, "ca-file", getenv("KEYROT_CA_FILE"),
		"PEM file with the certificates to trust instead of the system's (KEYROT_CA_FILE)")
}

// Run does what the options say.
func Run(ctx context.Context, w *World, o *Options) error {
	region := o.Region
	if region == "" {
		if region = w.Getenv("AWS_REGION"); region == "" {
			region = w.Getenv("AWS_DEFAULT_REGION")
		}
	}
	if o.Stdin {
		return given(w, o, region)
	}
	if o.User == "" {
		return Usagef("--user is missing")
	}
	if o.Profile != "" {
		return w.Profile(w, o)
	}
	if err := CheckFormat(o.Format, region); err != nil {
		return err
	}
	if !o.NoAgent && !quick.Asked() {
		if text, ok := quick.Ask(quick.Socket(w.Getenv), o.User, o.Format, region); ok {
			return say(w.Out, text)
		}
	}
	key, identify, err := w.caller(o)
	if err != nil {
		return err
	}
	s := Source{
		Endpoint: o.Endpoint, APIKey: key, Identify: identify, CAFile: o.CAFile, AllowPlainHTTP: o.AllowPlainHTTP,
		Fetch: w.Fetch, Now: w.Now,
	}
	if !o.NoCache {
		s.CacheDir = w.cacheDir()
	}
	c, err := s.Credential(ctx, o.User)
	if err != nil {
		return err
	}
	return Write(w.Out, o.Format, region, c)
}

// maxMessage bounds what is read from standard input, in bytes.
const maxMessage = 64 << 10

// given prints the pair that standard input has, as a publish hook gets it.
func given(w *World, o *Options, region string) error {
	if err := CheckFormat(o.Format, region); err != nil {
		return err
	}
	var m struct {
		User       string    `json:"user"`
		KeyID      string    `json:"access_key_id"`
		Secret     string    `json:"secret_access_key"`
		Created    time.Time `json:"created"`
		Expiration time.Time `json:"expiration"`
	}
	in := w.In
	if in == nil {
		in = strings.NewReader("")
	}
	if err := json.NewDecoder(io.LimitReader(in, maxMessage)).Decode(&m); err != nil {
		return Usagef("--stdin: standard input has no message of a publish hook") // err might quote the secret
	}
	switch {
	case m.KeyID == "" || m.Secret == "" || m.User == "" || m.Expiration.IsZero():
		return Usagef("--stdin: the message lacks user, access_key_id, secret_access_key or expiration")
	case o.User != "" && o.User != m.User:
		return Usagef("--stdin: the message is for user %q, not for %q", m.User, o.User)
	}
	return Write(w.Out, o.Format, region, api.Credential{
		UserName: m.User, AccessKeyID: m.KeyID, SecretAccessKey: m.Secret, CreateDate: m.Created, Expiration: m.Expiration,
	})
}

// cacheDir returns the folder of the cache, "" if there is none or others can
// change it.
func (w *World) cacheDir() string {
	dir := quick.CacheDir(w.Getenv)
	var untrusted *trust.Error
	if dir == "" || !errors.As(trust.Path(dir), &untrusted) {
		return dir
	}
	if w.Fetch != nil { // otherwise nothing is said yet
		_, _ = fmt.Fprintf(w.Err, "keyrot: the cache is not used: %v\nkeyrot: hint: %s\n", untrusted, untrusted.Hint())
	}
	return ""
}

func say(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("writing the credential: %w", err)
	}
	return nil
}

// Warm does what the options say if the agent or the cache has the answer, in a
// world without Fetch. done is false if not, and nothing is printed then.
func Warm(ctx context.Context, w *World, o *Options) (done bool) {
	return o.Profile == "" && !o.Stdin && w.Fetch == nil && Run(ctx, w, o) == nil
}
