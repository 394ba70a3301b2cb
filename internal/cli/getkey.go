package cli

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/fetch"
	"github.com/keyrot/keyrot/internal/getkey/profile"
	"github.com/keyrot/keyrot/pkg/client"
)

type getKeyOptions struct {
	common
	getkey.Options
}

func newGetKeyCmd(run func(context.Context, getKeyOptions) error) *cobra.Command {
	var o getKeyOptions
	cmd := &cobra.Command{
		Use:   "get-key --user USER",
		Short: "Print the user's active access key",
		Long: `Print the user's active access key: from the agent if one runs here, from the
cache while enough of the key's life is left, otherwise from a keyrot server.
The API key is taken from KEYROT_API_KEY or --api-key-file, never from an
argument.

Formats: json (the server's answer), credential-process (for the AWS config
file; --write-profile writes it there), env (eval "$(keyrot get-key ...)"),
dotenv, powershell, ini (a section of the shared credentials file), ses-smtp
(user and password for SES's SMTP endpoint in --region; ses-smtp-strings has no
numbers, for readers such as Terraform's that take strings only).

A publish hook gets the new key on standard input, before anybody is handed it
out: --stdin prints that in any of these formats.

The cache is sealed with the API key and lies in KEYROT_CACHE_DIR or the
system's folder for caches. keyrot-get is this command alone, and faster.`,
		Example: "  keyrot get-key --user ci --format env\n  keyrot get-key --user ci --api-key-file ~/.keyrot-key --write-profile ci",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	own := flag.NewFlagSet("get-key", flag.ContinueOnError)
	o.Options.Flags(own)
	cmd.Flags().AddGoFlagSet(own)
	clientFlags(cmd.Flags())
	return cmd
}

// clientFlags adds the flags for the way to a server.
func clientFlags(f *pflag.FlagSet) {
	setting(f, "endpoint", "endpoint", "URL of the server (KEYROT_ENDPOINT)")
	setting(f, "api_key_file", "api-key-file", "file that holds the API key")
	setting(f, "identity", "identity", "the caller's identity: api-key, oidc or aws (default by what is given)")
	setting(f, "oidc_token_file", "oidc-token-file", "file with an OIDC token that takes the API key's place")
	setting(f, "sign_for", "sign-for", "what identity aws signs for: the server's server.id (default the endpoint's host)")
	setting(f, "ca_file", "ca-file", "PEM file with the certificates to trust instead of the system's")
}

func (e Env) getKey(ctx context.Context, o getKeyOptions) error {
	c, err := e.clientConfig(o.common)
	if err != nil && !o.Stdin { // which asks nobody
		return err
	}
	o.Endpoint, o.APIKeyFile, o.CAFile = c.Endpoint, c.APIKeyFile, c.CAFile
	o.Identity, o.OIDCTokenFile = c.Identity, c.OIDCTokenFile
	w := &getkey.World{In: e.In, Out: e.Out, Err: e.Err, Getenv: e.Getenv, Now: e.Now, Fetch: fetch.Fetch, Profile: profile.Write}
	w.AWS = func(ctx context.Context) (getkey.Identity, error) { return awsIdentity(ctx, c) }
	return getkey.Run(ctx, w, &o.Options)
}

func (e Env) clientConfig(o common) (config.Client, error) {
	cfg, err := e.loadClient(o)
	if err == nil {
		err = usage(cfg.Client.Validate(), "")
	}
	return cfg.Client, err
}

// newClient returns a client for the server that the configuration names. It
// outlives its credentials: API key, token and CA files are read again when they change.
func (e Env) newClient(ctx context.Context, o common, allowPlainHTTP bool) (*client.Client, error) {
	cfg, err := e.loadClient(o)
	if err == nil {
		err = usage(cfg.Client.Validate(), "")
	}
	if err != nil {
		return nil, err
	}
	c, log := cfg.Client, logger(e.Err, cfg.Log)
	h, err := fetch.HTTPClient(c.CAFile, log)
	if err != nil {
		return nil, err
	}
	out := &client.Client{Endpoint: c.Endpoint, HTTP: h, AllowPlainHTTP: allowPlainHTTP, Now: e.Now}
	kind, key, err := (&getkey.Options{APIKeyFile: c.APIKeyFile, Identity: c.Identity, OIDCTokenFile: c.OIDCTokenFile}).Kind(e.Getenv)
	switch {
	case err != nil:
		return nil, err
	case kind == getkey.ByOIDC:
		out.Proof = func(ctx context.Context, now time.Time) (header, value string, err error) {
			if err := disk.Trusted(c.OIDCTokenFile); err != nil {
				return "", "", fmt.Errorf("reading the OIDC token: %w", err)
			}
			return client.OIDCFile(c.OIDCTokenFile)(ctx, now)
		}
	case kind == getkey.ByAWS:
		signer, err := awsSigner(ctx, c)
		if err != nil {
			return nil, err
		}
		out.Proof = signer.Proof
	case key == "":
		return nil, getkey.ErrNoAPIKey
	default:
		out.Key = (&disk.Value[string]{Path: c.APIKeyFile, Log: log, Read: func() (string, error) {
			return getkey.APIKey(e.Getenv("KEYROT_API_KEY"), c.APIKeyFile)
		}}).Get
	}
	return out, nil
}
