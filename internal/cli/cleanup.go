package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
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
	Successor     bool // another stack is about to take over what this one leaves
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
	sdk, err := regional(ctx, logger(e.Err, cfg.Log))
	if err == nil {
		err = identified(ctx, sdk)
	}
	if err != nil {
		return err
	}
	where := e.cloudOf(sdk, cfg)
	p := &deployment{Env: e, cfg: cfg, sdk: where.Config, aws: where}
	if p.self, err = p.aws.SDK.Self(ctx); err != nil {
		return err
	}
	p.d = deploy.New(p.sdk, accountOf(p.self))
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

// removal is what a removal is about.
type removal struct {
	stack   deploy.Stack
	gone    bool // there is no such stack (any more)
	noted   bool // a former removal deleted it and did not come to its end
	all     []deploy.Resource
	kept    deploy.Kept
	entries []rotate.Entry
}

// remove removes the stack and what belongs to it, and returns what stays.
// Every part is looked for by itself, and what the stack leaves behind is
// written down before it goes, so that it may be repeated. ErrNoStack if
// nothing was there.
func (p *deployment) remove(ctx context.Context, o cleanupOptions) (deploy.Kept, error) {
	r, err := p.surveyed(ctx, o.Name)
	if err != nil {
		return r.kept, err
	}
	if err := p.showRemoval(o, r.all, r.kept, r.entries); err != nil || o.DryRun {
		return r.kept, err
	}
	if r.gone && !r.noted && (!o.DeleteSecrets || r.kept == (deploy.Kept{})) {
		some, err := p.d.RemoveArtefacts(ctx, o.Name) // of a deploy that did not get as far as the stack
		if err == nil && !some {
			err = r.missing(p.d.Region)
		}
		return r.kept, err
	}
	if !o.Yes {
		if err := p.agreed(ctx, fmt.Sprintf("Remove this from account %s, region %s?", p.d.Account, p.d.Region)); err != nil {
			return r.kept, err
		}
	}
	if !r.gone {
		if err := p.deleteStack(ctx, r, o.Abandon); err != nil {
			return r.kept, err
		}
	}
	if o.Successor {
		return r.kept, nil
	}
	return r.kept, cutShort(ctx, p.clearUp(ctx, o, r), "stack %s is deleted, but not all that belonged to it; %s", r.stack.Name, goesOn)
}

// clearUp does what is left when the stack is gone.
func (p *deployment) clearUp(ctx context.Context, o cleanupOptions, r removal) error {
	late, err := p.finish(ctx, r, o.Wait)
	if err == nil && o.DeleteSecrets && late > 0 {
		err = &marked{fmt.Errorf("table %s stays: %d users have superseded keys that work, and only it knows when they may go",
			r.kept.Table, late), errSome}
		err = hint.Wrap(err, goesOn+"; a longer --wait waits for them")
	}
	if err == nil && o.DeleteSecrets {
		err = p.forget(ctx, r.kept)
	}
	if err == nil {
		_, err = p.d.RemoveArtefacts(ctx, o.Name)
	}
	if err != nil && hint.Of(err) == "" {
		err = hint.Wrap(err, goesOn)
	}
	return err
}

// goesOn is true once the stack is gone: what is left was written down.
const goesOn = "run this again to continue"

// surveyed looks at all that there is to remove.
func (p *deployment) surveyed(ctx context.Context, name string) (r removal, err error) {
	r.kept = deploy.Kept{Table: p.cfg.Store.Table, Key: p.cfg.Store.KMSKey}
	r.stack, err = p.d.Stack(ctx, name)
	switch {
	case errors.Is(err, deploy.ErrNoStack):
		r.gone, r.stack.Name = true, name
		if r.kept == (deploy.Kept{}) {
			n, err := p.d.ReadNote(ctx, name)
			if err != nil && !errors.Is(err, deploy.ErrNoNote) {
				return r, err
			}
			if r.noted = err == nil; r.noted {
				p.say("stack %s was deleted before, by a removal that did not come to its end: going on with it", name)
			}
			r.kept, r.stack.Parameters = n.Kept, n.Parameters
		}
	case err != nil:
		return r, err
	default:
		if r.all, err = p.d.Resources(ctx, r.stack); err != nil {
			return r, err
		}
		r.kept = deploy.KeptBy(r.stack, r.all)
	}
	r.entries, err = p.managed(ctx, r.kept)
	return r, err
}

func (r removal) missing(region string) error {
	return fmt.Errorf("stack %s in %s: %w", r.stack.Name, region, deploy.ErrNoStack)
}

// deleteStack writes down what the stack leaves behind, and deletes it.
func (p *deployment) deleteStack(ctx context.Context, r removal, abandon bool) error {
	if r.kept != (deploy.Kept{}) {
		if err := p.d.WriteNote(ctx, r.stack.Name, deploy.Note{Kept: r.kept, Parameters: r.stack.Parameters}); err != nil {
			return err
		}
	}
	if err := p.d.Delete(ctx, r.stack, abandon); err != nil {
		return cutShort(ctx, err, "stack %s may be on its way out; %s", r.stack.Name, goesOn)
	}
	p.say("stack %s deleted", r.stack.Name)
	return nil
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
			if r.Status == types.ResourceStatusDeleteComplete {
				continue // rolled back
			}
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
