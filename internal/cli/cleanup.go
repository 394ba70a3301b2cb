package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/deploy"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

type cleanupOptions struct {
	common
	Name          string
	Yes           bool
	DryRun        bool
	DeleteSecrets bool
	Abandon       bool
	Wait          time.Duration
}

func newCleanupCmd(run func(context.Context, cleanupOptions) error) *cobra.Command {
	var o cleanupOptions
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove the serverless system; every user keeps a working key",
		Long: `Remove the stack and its artefacts. Every managed user keeps its active key, and you are told
which; superseded keys are made inactive and deleted as they become due. The table and the KMS key,
which hold the keys' secrets, stay unless --delete-secrets is given: "keyrot deploy --table T
--kms-key K" takes them over. It works on a stack that is half made or half gone, too.`,
		Example: "  keyrot cleanup --dry-run\n  keyrot cleanup --delete-secrets",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "stack-name", defaultStack, "name of the stack")
	f.BoolVar(&o.Yes, "yes", false, "do not ask")
	f.BoolVar(&o.DryRun, "dry-run", false, "say what would go and stay, change nothing")
	f.BoolVar(&o.DeleteSecrets, "delete-secrets", false, "also delete the table, and the KMS key in 30 days")
	f.BoolVar(&o.Abandon, "abandon", false, "leave resources that could not be deleted before where they are")
	f.DurationVar(&o.Wait, "wait", 20*time.Minute, "how long to wait for superseded keys to become due; 0s: not at all")
	setting(f, "store.table", "table", "table that a removed stack left behind, for --delete-secrets")
	setting(f, "store.kms_key", "kms-key", "KMS key that a removed stack left behind, for --delete-secrets")
	return cmd
}

func (e Env) cleanup(ctx context.Context, o cleanupOptions) error {
	cfg, err := e.load(o.common)
	if err != nil {
		return err
	}
	sdk, err := regional(ctx)
	if err != nil {
		return err
	}
	p := &deployment{Env: e, cfg: cfg, sdk: sdk, aws: cloudOf(sdk, cfg)}
	if p.self, err = p.aws.SDK.Self(ctx); err != nil {
		return err
	}
	p.d = deploy.New(sdk, accountOf(p.self))
	p.d.Say = e.say
	kept, err := p.remove(ctx, o)
	if errors.Is(err, deploy.ErrNoStack) {
		return &marked{fmt.Errorf("nothing to remove: %w", err), errNothing}
	}
	if err != nil || o.DryRun || kept == (deploy.Kept{}) || o.DeleteSecrets {
		return err
	}
	e.say("table %s and KMS key %s stay", kept.Table, kept.Key)
	e.say(`use them again:  keyrot deploy --table %s --kms-key %s …`, kept.Table, kept.Key)
	e.say(`or delete them:  keyrot cleanup --delete-secrets --table %s --kms-key %s`, kept.Table, kept.Key)
	return nil
}

// remove removes the stack and what belongs to it, and returns what stays.
// Every part is looked for by itself, so that it may be repeated. ErrNoStack
// if nothing was there.
func (p *deployment) remove(ctx context.Context, o cleanupOptions) (deploy.Kept, error) {
	s, err := p.d.Stack(ctx, o.Name)
	gone := errors.Is(err, deploy.ErrNoStack)
	if err != nil && !gone {
		return deploy.Kept{}, err
	}
	missing := err
	kept := deploy.Kept{Table: p.cfg.Store.Table, Key: p.cfg.Store.KMSKey}
	var all []deploy.Resource
	if !gone {
		if all, err = p.d.Resources(ctx, s); err != nil {
			return kept, err
		}
		kept = deploy.KeptBy(s, all)
	}
	entries, err := p.managed(ctx, kept)
	if err != nil {
		return kept, err
	}
	if err := p.showRemoval(o, all, kept, entries); err != nil || o.DryRun {
		return kept, err
	}
	if gone && (!o.DeleteSecrets || kept == (deploy.Kept{})) {
		return kept, errors.Join(missing, p.d.RemoveArtefacts(ctx, o.Name))
	}
	if !o.Yes && !p.confirmed(fmt.Sprintf("Remove this from account %s, region %s?", p.d.Account, p.d.Region)) {
		return kept, notConfirmed()
	}
	if !gone {
		if err := p.d.Delete(ctx, s, o.Abandon); err != nil {
			return kept, err
		}
		p.say("stack %s deleted", o.Name)
	}
	if err := p.d.RemoveArtefacts(ctx, o.Name); err != nil {
		return kept, err
	}
	if err := p.finish(ctx, s, kept, entries, o.Wait); err != nil {
		return kept, err
	}
	if o.DeleteSecrets {
		return kept, p.forget(ctx, kept)
	}
	return kept, nil
}

// managed lists the users in the table; nobody if there is none.
func (p *deployment) managed(ctx context.Context, kept deploy.Kept) ([]rotate.Entry, error) {
	if kept.Table == "" {
		return nil, nil
	}
	entries, err := openTable(p.sdk, config.Config{Store: config.Store{Table: kept.Table}}).List(ctx)
	if errors.Is(err, dynamodb.ErrNoTable) {
		return nil, nil
	}
	return entries, hint.Wrap(err, "without the table nobody can say which keys work; grant dynamodb:Query on it")
}

// showRemoval says what goes, what stays, and which key each user keeps.
func (p *deployment) showRemoval(o cleanupOptions, all []deploy.Resource, kept deploy.Kept, entries []rotate.Entry) error {
	if p.o.Output != "json" && o.Output != "json" {
		rows := [][]string{{"RESOURCE", "TYPE", "WILL"}}
		for _, r := range all {
			will := "go"
			if r.Physical != "" && (r.Physical == kept.Table || strings.HasSuffix(kept.Key, "/"+r.Physical)) {
				will = map[bool]string{true: "go (--delete-secrets)", false: "stay"}[o.DeleteSecrets]
			}
			rows = append(rows, []string{dash(r.Physical), r.Type, will})
		}
		if err := writeTable(p.Err, rows); err != nil {
			return err
		}
	}
	views := make([]keeping, len(entries))
	for i, e := range entries {
		views[i] = keepingOf(e.Record)
	}
	if o.DeleteSecrets && len(entries) > 0 {
		p.say("the secrets of %d users are deleted: their keys work on, but nobody can ask for them any more", len(entries))
	}
	if o.Output == "json" {
		return writeJSON(p.Out, views)
	}
	if len(views) == 0 {
		p.say("no user is managed")
		return nil
	}
	rows := [][]string{{"USER", "KEEPS", "BESIDES"}}
	for _, v := range views {
		rows = append(rows, []string{v.User, dash(v.Keeps), dash(fmt.Sprint(len(v.Besides), " superseded"))})
	}
	return writeTable(p.Out, rows)
}

// keeping is a user and the key it keeps.
type keeping struct {
	User    string   `json:"user"`
	Keeps   string   `json:"keeps"`             // whole access key id
	Besides []string `json:"besides,omitempty"` // others that are there yet
}

func keepingOf(r plan.Record) keeping {
	v := keeping{User: r.User}
	if k := r.In(plan.Current); k != nil {
		v.Keeps = k.ID
	}
	for _, k := range r.Keys {
		if k.ID != v.Keeps {
			v.Besides = append(v.Besides, k.ID)
		}
	}
	return v
}

// forget deletes what holds the secrets.
func (p *deployment) forget(ctx context.Context, kept deploy.Kept) error {
	if kept.Table != "" {
		if err := p.d.DeleteTable(ctx, kept.Table); err != nil {
			return err
		}
	}
	if kept.Key != "" {
		return p.d.DeleteKey(ctx, kept.Key)
	}
	return nil
}

// finish completes what the rotator had begun: superseded keys go as they
// become due, and nothing new is begun. The stack is gone, so nobody else
// acts.
func (p *deployment) finish(ctx context.Context, s deploy.Stack, kept deploy.Kept, entries []rotate.Entry, patience time.Duration) error {
	if kept.Table == "" || len(entries) == 0 {
		return nil
	}
	flags := settingsOf(s)
	flags["store.table"], flags["store.kms_key"] = kept.Table, kept.Key
	cfg, err := p.loadValid(common{Flags: flags})
	if err != nil {
		return err
	}
	cfg.Log.Level = "error"
	sys, err := open(ctx, p.Env, cfg, p.aws)
	if err != nil {
		return err
	}
	sys.rotator.Policy = func(user string) plan.Policy {
		pol := cfg.Policy(user)
		pol.Frozen = plan.NoUserListed
		return pol
	}
	end := time.Now().Add(patience)
	if _, err := sys.store.List(ctx); errors.Is(err, dynamodb.ErrNoTable) {
		p.say("warning: the table is gone, too: nobody can finish what the rotator had begun; see the users' keys in IAM")
		return sys.close(ctx)
	}
	for _, e := range entries {
		if err := p.finishUser(ctx, sys, e.Record.User, end); err != nil {
			return errors.Join(err, sys.close(ctx))
		}
	}
	return sys.close(ctx)
}

func (p *deployment) finishUser(ctx context.Context, sys *system, user string, end time.Time) error {
	for {
		rep, err := sys.rotator.Obey(ctx, user, 0)
		if err != nil {
			return hint.Wrap(err, "run this again")
		}
		if rep.Err != nil {
			p.say("warning: %v", rep.Err)
			return nil
		}
		e, err := sys.store.Load(ctx, user)
		if err != nil {
			return err
		}
		v := keepingOf(e.Record)
		if len(v.Besides) == 0 {
			p.say("%s keeps key %s", user, dash(v.Keeps))
			return nil
		}
		if e.Due.After(end) {
			p.say("%s keeps key %s; %d others are not due before %s: delete them in IAM then", user, dash(v.Keeps), len(v.Besides), e.Due.Format(time.RFC3339))
			return nil
		}
		t := time.NewTimer(max(time.Second, time.Until(e.Due)))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}
