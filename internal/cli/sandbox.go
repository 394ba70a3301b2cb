package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/sandbox"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// demoUsers are the IAM users of the sandbox.
var demoUsers = []string{"demo-app", "demo-ci", "demo-mailer"}

// serveSandbox serves over an AWS inside the process. Everything it writes is
// in a temporary folder that is gone when it returns.
func (e Env) serveSandbox(ctx context.Context, o serveOptions) (err error) {
	dir, err := os.MkdirTemp("", "keyrot-sandbox-")
	if err != nil {
		return fmt.Errorf("making a folder for the sandbox: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg, err := e.sandboxConfig(o.common, dir)
	if err != nil {
		return err
	}
	ctx, stop := e.endWithTerminal(ctx, logger(e.Err, cfg.Log))
	defer stop()
	ln, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }() // closed already unless starting fails
	// The sandbox outlives ctx: what is under way when it ends still needs IAM.
	inside, err := sandbox.Start(context.WithoutCancel(ctx), sandbox.Options{Users: demoUsers, Dir: dir})
	if err != nil {
		return fmt.Errorf("starting the sandbox: %w", err)
	}
	defer func() { err = errors.Join(err, inside.Close()) }()
	sdk, err := inside.Config(ctx)
	if err != nil {
		return fmt.Errorf("starting the sandbox: %w", err)
	}
	aws := e.cloudOf(sdk, cfg)
	aws.Quick = true
	s, err := open(ctx, e, cfg, aws)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	key, err := e.sandboxKey(ctx, s.server.Keys)
	if err != nil {
		return err
	}
	// The first keys are there before the first command is pasted.
	if _, err := s.rotator.RunOnce(ctx, rotate.Options{Patience: 10 * time.Second}); err != nil {
		return err
	}
	_, viewer, err := s.server.Keys.Create(ctx, auth.Key{Name: "status page", Role: auth.Viewer})
	if err != nil {
		return err
	}
	e.welcome(cfg, ln, inside, key, baseURL(cfg, ln)+s.server.Page.Link(viewer))
	return s.run(ctx, ln)
}

// sandboxConfig is the configuration with everything in dir. The users, and
// AWS being consistent at once, are given.
func (e Env) sandboxConfig(c common, dir string) (config.Config, error) {
	for key := range c.Flags {
		if strings.HasPrefix(key, "users.") || strings.HasPrefix(key, "store.") {
			return config.Config{}, usagef("--sandbox has its own users and store; leave out the flag for %s", key)
		}
	}
	c.Defaults = map[string]any{
		"settle": "0s", "iam.rate": "100", "iam.burst": "100", "audit.sync": "second", "log.format": "text",
	}
	flags := maps.Clone(c.Flags)
	if flags == nil {
		flags = map[string]any{}
	}
	flags["store.path"] = filepath.Join(dir, "keyrot.db")
	flags["store.key_file"] = filepath.Join(dir, "keyrot.key")
	flags["audit.path"] = filepath.Join(dir, "audit.jsonl")
	flags["users.names"] = demoUsers
	for _, key := range []string{"users.path_prefix", "users.tag", "users.exclude", "store.table", "store.kms_key"} {
		flags[key] = ""
	}
	flags["users.all"] = false
	c.Flags = flags
	if c.File == "" {
		c.File = os.DevNull // a keyrot.yaml that lies around is for real users
	}
	return e.loadValid(c)
}

// sandboxKey makes an API key for all demo users, or lets KEYROT_API_KEY in.
func (e Env) sandboxKey(ctx context.Context, keys *auth.Keys) (string, error) {
	users := []string{"demo-*"}
	if given := strings.TrimSpace(e.Getenv("KEYROT_API_KEY")); given != "" {
		keys.Fixed = []auth.Key{auth.FixedKey("sandbox", given, users, auth.Reader)}
		return given, nil
	}
	secret, _, err := keys.Create(ctx, auth.Key{Name: "sandbox", Users: users, Role: auth.Reader})
	return secret, err
}

// welcome prints what to paste: the variables on standard output, where a
// script can read them, the talk on standard error.
func (e Env) welcome(cfg config.Config, ln net.Listener, inside *sandbox.AWS, key, page string) {
	url := baseURL(cfg, ln)
	p := cfg.Policy(demoUsers[0])
	_, _ = fmt.Fprintf(e.Out, "export KEYROT_ENDPOINT=%s\n", url)
	if e.Getenv("KEYROT_API_KEY") != key { // who gave it knows it
		_, _ = fmt.Fprintf(e.Out, "export KEYROT_API_KEY=%s\n", getkey.Quote(key))
	}
	_, _ = fmt.Fprintf(e.Err, `
keyrot sandbox: three IAM users whose keys rotate every %s (deactivated after %s, deleted after %s).
Everything is in this process and in a temporary folder; Ctrl-C ends it.

  page       %s   (opens once, within 10 minutes; later log in with an API key)
  API        %s   (/healthz, /readyz, /generate-token, /active-key)
  IAM, STS   %s
  S3         %s   (bucket %s)
  users      %s

In another terminal, after pasting the export lines above:

  keyrot get-key --user demo-app

or with curl:

  TOKEN=$(curl -s -X POST -H "x-api-key: $KEYROT_API_KEY" $KEYROT_ENDPOINT/generate-token | cut -d'"' -f4)
  curl -s -H "x-api-key: $KEYROT_API_KEY" -H "Authorization: Bearer $TOKEN" "$KEYROT_ENDPOINT/active-key?username=demo-app"

`, span(p.RotateEvery), span(p.DeactivateAfter), span(p.DeleteAfter), page, url,
		inside.Endpoint(), inside.S3Endpoint(), sandbox.Bucket, strings.Join(demoUsers, ", "))
}
