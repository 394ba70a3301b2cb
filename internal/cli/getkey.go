package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

type getKeyOptions struct {
	common
	User           string
	Format         string // json, credential-process or env
	AllowPlainHTTP bool
}

func newGetKeyCmd(run func(context.Context, getKeyOptions) error) *cobra.Command {
	var o getKeyOptions
	cmd := &cobra.Command{
		Use:   "get-key --user USER",
		Short: "Print the user's active access key",
		Long: `Print the user's active access key, read from a keyrot server. The API key is
taken from KEYROT_API_KEY or --api-key-file, never from an argument.

Formats: json (the server's answer), credential-process (for the AWS config
file: credential_process = keyrot get-key --user USER --format credential-process)
and env (for a shell: eval "$(keyrot get-key --user USER --format env)").`,
		Example: "  keyrot get-key --user ci --format env",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.User, "user", "", "IAM user (required)")
	f.StringVar(&o.Format, "format", "json", "json, credential-process or env")
	f.BoolVar(&o.AllowPlainHTTP, "allow-plain-http", false, "send the API key unencrypted to other hosts")
	setting(f, "endpoint", "endpoint", "URL of the server (KEYROT_ENDPOINT)")
	setting(f, "api_key_file", "api-key-file", "file that holds the API key")
	setting(f, "ca_file", "ca-file", "PEM file with the certificates to trust instead of the system's")
	return cmd
}

// formats are the ways to print a credential.
var formats = map[string]func(io.Writer, api.Credential) error{
	"json":               func(w io.Writer, c api.Credential) error { return writeJSON(w, c) },
	"credential-process": writeProcess,
	"env":                writeEnv,
}

func (e Env) getKey(ctx context.Context, o getKeyOptions) error {
	write, ok := formats[o.Format]
	if !ok {
		return usagef("--format: %q is none of json, credential-process, env", o.Format)
	}
	if o.User == "" {
		return usagef("--user is missing")
	}
	cfg, err := e.load(o.common)
	if err != nil {
		return err
	}
	if err := cfg.Client.Validate(); err != nil {
		return usage(err, "")
	}
	key, err := apiKey(e.Getenv, cfg.Client)
	if err != nil {
		return err
	}
	httpClient, err := clientFor(cfg.Client)
	if err != nil {
		return err
	}
	c := &client.Client{Endpoint: cfg.Client.Endpoint, APIKey: key, HTTP: httpClient, AllowPlainHTTP: o.AllowPlainHTTP}
	cred, err := c.Credential(ctx, o.User)
	if err != nil {
		return err
	}
	return write(e.Out, cred)
}

// apiKey reads the API key from the environment, then from the file.
func apiKey(getenv func(string) string, c config.Client) (string, error) {
	if key := strings.TrimSpace(getenv("KEYROT_API_KEY")); key != "" {
		return key, nil
	}
	if c.APIKeyFile == "" {
		return "", usage(fmt.Errorf("no API key is given"), `set KEYROT_API_KEY or --api-key-file; "keyrot api-key create" makes one`)
	}
	raw, err := os.ReadFile(c.APIKeyFile)
	if err != nil {
		return "", usage(fmt.Errorf("reading the API key: %w", err), "")
	}
	key := strings.TrimSpace(string(raw))
	if key == "" || strings.ContainsAny(key, "\r\n") {
		return "", usagef("reading the API key: %s does not hold exactly one line", c.APIKeyFile)
	}
	return key, nil
}

// clientFor returns an HTTP client that trusts CAFile only, if one is named.
// Parsing the system's certificates takes longer than all else together, so
// that is left to the moment they are needed.
func clientFor(c config.Client) (*http.Client, error) {
	h := &http.Client{Timeout: 15 * time.Second}
	if c.CAFile == "" {
		return h, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, usage(fmt.Errorf("reading the certificates to trust: %w", err), "")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usagef("ca_file: %s holds no certificate", c.CAFile)
	}
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // documented
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	h.Transport = t
	return h, nil
}

// writeProcess writes what the SDKs' process provider reads. Expiration is
// always there: without it the SDKs would use the key for ever.
func writeProcess(w io.Writer, c api.Credential) error {
	return writeJSON(w, struct {
		Version         int
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Expiration      string
	}{1, c.AccessKeyID, c.SecretAccessKey, c.Expiration.UTC().Format(time.RFC3339)})
}

// writeEnv writes commands for a POSIX shell. A session token that is left
// over would make AWS refuse the pair.
func writeEnv(w io.Writer, c api.Credential) error {
	_, err := fmt.Fprintf(w, "export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\nexport AWS_CREDENTIAL_EXPIRATION=%s\nunset AWS_SESSION_TOKEN\n",
		quote(c.AccessKeyID), quote(c.SecretAccessKey), quote(c.Expiration.UTC().Format(time.RFC3339)))
	return err
}

// quote makes one shell word of s, whatever the server sent.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
