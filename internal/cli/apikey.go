package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/deploy"
)

type apiKeyCreateOptions struct {
	common
	Name    string
	Users   []string
	Role    string
	Expires string // duration from now; empty: never
	Init    bool   // make the store if there is none
}

// apiKeyRuns are what the three subcommands run.
type apiKeyRuns struct {
	create func(context.Context, apiKeyCreateOptions) error
	list   func(context.Context, common) error
	revoke func(ctx context.Context, c common, id string) error
	rotate func(ctx context.Context, c common, id, overlap string) error
}

func (e Env) apiKeys() apiKeyRuns {
	return apiKeyRuns{e.createKey, e.listKeys, e.revokeKey, e.rotateKey}
}

func newAPIKeyCmd(run apiKeyRuns) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "api-key",
		Short:   "Create, list, rotate and revoke the API keys of callers",
		Example: "  keyrot api-key create --name ci --users 'ci-*'",
	}
	cmd.AddCommand(newAPIKeyCreateCmd(run.create), newAPIKeyListCmd(run.list), newAPIKeyRevokeCmd(run.revoke), newAPIKeyRotateCmd(run.rotate))
	storeFlags(cmd.PersistentFlags())
	return cmd
}

func newAPIKeyCreateCmd(run func(context.Context, apiKeyCreateOptions) error) *cobra.Command {
	var o apiKeyCreateOptions
	cmd := &cobra.Command{
		Use:     "create --users PATTERN[,PATTERN]",
		Short:   "Create an API key and print it, once",
		Example: "  keyrot api-key create --name mailer --users mailer --expires 90d",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "", "who it is for")
	f.StringSliceVar(&o.Users, "users", nil, "IAM users it may read: names or patterns, * for all")
	f.StringVar(&o.Role, "role", "reader", "viewer, reader or operator")
	f.StringVar(&o.Expires, "expires", "", "how long it is good, such as 90d (default: until revoked)")
	f.BoolVar(&o.Init, "init", false, "make the store if there is none yet, for a daemon that is started later")
	return cmd
}

func newAPIKeyListCmd(run func(context.Context, common) error) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List API keys",
		Example: "  keyrot api-key list -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := commonOf(cmd)
			if err != nil {
				return err
			}
			return run(cmd.Context(), c)
		},
	}
}

func newAPIKeyRevokeCmd(run func(context.Context, common, string) error) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "End an API key and its tokens, within a second",
		Example: "  keyrot api-key revoke a2b3c4d5e6f7",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := commonOf(cmd)
			if err != nil {
				return err
			}
			return run(cmd.Context(), c, args[0])
		},
	}
}

func newAPIKeyRotateCmd(run func(context.Context, common, string, string) error) *cobra.Command {
	var overlap string
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Give an API key a new secret and print it, once",
		Long: `Give an API key a new secret and print it, once. Id, users, role and expiry stay.
The old secret, and tokens it was exchanged for, are good for the overlap.`,
		Example: "  keyrot api-key rotate a2b3c4d5e6f7 --overlap 1h",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := commonOf(cmd)
			if err != nil {
				return err
			}
			return run(cmd.Context(), c, args[0], overlap)
		},
	}
	cmd.Flags().StringVar(&overlap, "overlap", "1h", "how long the old secret stays good; 0s if it leaked")
	return cmd
}

func (e Env) createKey(ctx context.Context, o apiKeyCreateOptions) error {
	want := auth.Key{Name: o.Name, Users: o.Users, Role: auth.Role(o.Role)}
	var lasts time.Duration
	if o.Expires != "" {
		var err error
		if lasts, err = config.ParseDuration(o.Expires); err != nil {
			return usagef("--expires: %w", err)
		}
		if lasts <= 0 {
			return usagef("--expires: %s is not ahead", o.Expires)
		}
	}
	if err := want.Validate(e.Now()); err != nil {
		return usage(err, "")
	}
	return e.withKeys(ctx, o.common, keyJob{Timed: lasts > 0, Init: o.Init}, func(keys *auth.Keys, cfg config.Store) error {
		if lasts > 0 {
			want.Expires = keys.Now().Add(lasts).UTC()
		}
		secret, k, err := keys.Create(ctx, want)
		if err != nil {
			return err
		}
		if o.Stack != nil && o.Output != "json" {
			_, _ = fmt.Fprintf(e.Err, "keyrot: API Gateway must know it, too: aws apigateway create-api-key --enabled --value KEY, then\n"+
				"keyrot: aws apigateway create-usage-plan-key --key-type API_KEY --usage-plan-id %s --key-id ID\n",
				o.Stack.Outputs[deploy.OutputUsagePlan])
		}
		return e.showKey(o.Output, k.ID, secret, cfg)
	})
}

// showKey tells a secret, the only time that it is told, and which store knows it:
// only servers of that store take it.
func (e Env) showKey(output, id, secret string, in config.Store) error {
	_, _ = fmt.Fprintf(e.Err, "keyrot: API key %s is in %s\n", id, nameOf(in))
	if output == "json" {
		return writeJSON(e.Out, struct {
			ID     string `json:"id"`
			APIKey string `json:"api_key"` // #nosec G117 -- shown once, here
		}{id, secret})
	}
	_, _ = fmt.Fprintln(e.Err, "keyrot: its secret, shown this once:")
	_, err := fmt.Fprintln(e.Out, secret)
	return err
}

func (e Env) rotateKey(ctx context.Context, c common, id, overlap string) error {
	d, err := config.ParseDuration(overlap)
	if err != nil || d < 0 {
		return usagef("--overlap: %q is not a duration such as 1h", overlap)
	}
	return e.withKeys(ctx, c, keyJob{Timed: d > 0}, func(keys *auth.Keys, cfg config.Store) error {
		secret, k, err := keys.Rotate(ctx, id, d)
		switch {
		case errors.Is(err, auth.ErrNoSuchKey):
			return unknownKey(err)
		case errors.Is(err, auth.ErrNotRotatable):
			return usage(err, `"keyrot api-key create" makes another one`)
		case err != nil:
			return err
		}
		_, _ = fmt.Fprintf(e.Err, "keyrot: the old secret is good for another %s\n", span(d))
		return e.showKey(c.Output, k.ID, secret, cfg)
	})
}

func unknownKey(err error) error {
	return usage(fmt.Errorf("API key %w", err), `"keyrot api-key list" shows the keys there are`)
}

// keyView is an API key as it is listed: without its hash.
type keyView struct {
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"`
	Role    auth.Role `json:"role"`
	Users   []string  `json:"users"`
	State   string    `json:"state"` // good, expired or revoked
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
	Used    time.Time `json:"last_used,omitzero"` // to within 10 minutes
	Former  int       `json:"former_secrets,omitempty"`
}

func viewOf(k auth.Key, now time.Time) keyView {
	state := "good"
	switch {
	case !k.Revoked.IsZero():
		state = "revoked"
	case !k.Good(now):
		state = "expired"
	}
	v := keyView{
		ID: k.ID, Name: k.Name, Role: k.Role, Users: k.Users, State: state, Created: k.Created, Expires: k.Expires,
		Revoked: k.Revoked,
	}
	for _, f := range k.Former {
		if now.Before(f.Until) {
			v.Former++
		}
	}
	return v
}

func (e Env) listKeys(ctx context.Context, c common) error {
	return e.withKeys(ctx, c, keyJob{}, func(keys *auth.Keys, _ config.Store) error {
		all, failed := keys.List(ctx)
		if len(all) == 0 && failed != nil {
			return failed
		}
		views := make([]keyView, len(all))
		rows := [][]string{{"ID", "NAME", "ROLE", "USERS", "STATE", "LAST USED", "EXPIRES"}}
		for i, k := range all {
			v := viewOf(k, keys.Now())
			var err error
			v.Used, err = keys.LastUsed(ctx, k.ID)
			failed = errors.Join(failed, err)
			views[i] = v
			rows = append(rows, []string{v.ID, v.Name, string(v.Role), strings.Join(v.Users, ","), v.State, orNever(v.Used), orNever(v.Expires)})
		}
		if c.Output == "json" {
			return errors.Join(failed, writeJSON(e.Out, views))
		}
		return errors.Join(failed, writeTable(e.Out, rows))
	})
}

func (e Env) revokeKey(ctx context.Context, c common, id string) error {
	return e.withKeys(ctx, c, keyJob{}, func(keys *auth.Keys, _ config.Store) error {
		k, err := keys.ByID(ctx, id)
		if errors.Is(err, auth.ErrNoSuchKey) {
			return unknownKey(err)
		}
		if err != nil {
			return err
		}
		if !k.Revoked.IsZero() {
			return &marked{fmt.Errorf("API key %s is revoked already", id), errNothing}
		}
		if err := keys.Revoke(ctx, id); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(e.Err, "keyrot: API key %s is revoked; its tokens end within a second\n", id)
		return nil
	})
}

func orNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}

// keyJob is what a command does with API keys.
type keyJob struct {
	// Timed: it says from when on a daemon is to refuse something, which the
	// daemon judges by AWS's clock.
	Timed bool
	Init  bool // the store may be made
}

// withKeys opens the API keys for one command.
func (e Env) withKeys(ctx context.Context, c common, j keyJob, f func(*auth.Keys, config.Store) error) (err error) {
	cfg, err := e.load(c)
	if err != nil {
		return err
	}
	if err := storeExists(cfg); err != nil && !j.Init {
		return err
	}
	clock := e.clockOnly(ctx, cfg)
	clock.Log = nil // what follows says it in words
	st, err := openStore(ctx, cfg, e.Getenv, clock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if !clock.Settle(ctx) && j.Timed {
		_, _ = fmt.Fprintln(e.Err, "keyrot: warning: AWS could not be asked for the time; this machine's clock is used, which must be right")
	}
	log, err := openAudit(ctx, cfg, st, clock.Now, logger(e.Err, cfg.Log))
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close(context.WithoutCancel(ctx))) }()
	return f(&auth.Keys{Settings: st, Now: clock.Now, Audit: log, Actor: operator()}, cfg.Store)
}
