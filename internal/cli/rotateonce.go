package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

type rotateOptions struct {
	common
	Users  []string
	Force  bool
	DryRun bool
	Wait   time.Duration
}

func newRotateOnceCmd(run func(context.Context, rotateOptions) error) *cobra.Command {
	var o rotateOptions
	cmd := &cobra.Command{
		Use:   "rotate-once",
		Short: "Do what is due, once",
		Long: `Make one pass over the selected users and do what is due. It may run beside
"keyrot serve" and beside itself on the same store: no two ever act on one user.

With --stack the deployed rotator makes the pass: you need lambda:InvokeFunction
on it, but no permission on users, table or key.

Exit code 3 means that some users failed; the table says which and why.`,
		Example: "  keyrot rotate-once --dry-run\n  keyrot rotate-once --user ci --force",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.Users, "user", nil, "only this selected user (may be repeated)")
	f.BoolVar(&o.Force, "force", false, "rotate now, not when it is due")
	f.BoolVar(&o.DryRun, "dry-run", false, "show what would be done, without doing it")
	f.DurationVar(&o.Wait, "wait", time.Minute, "how long to wait for a new key to be accepted; 0s leaves it to the next pass")
	scheduleFlags(f)
	selectionFlags(f)
	storeFlags(f)
	setting(f, "existing_keys", "existing-keys", "keys that were there before: refuse or retire")
	return cmd
}

func (e Env) rotateOnce(ctx context.Context, o rotateOptions) (err error) {
	if slices.Contains(o.Users, "") {
		return usagef("--user: is empty")
	}
	if o.Stack != nil {
		return e.rotateStack(ctx, o)
	}
	cfg, err := e.loadValid(o.common)
	if err != nil {
		return err
	}
	if cfg.Users.Empty() {
		return rotate.ErrNoUsers
	}
	aws, err := e.account(ctx, cfg)
	if err != nil {
		return err
	}
	aws.Matches.tell = func(entries []string) {
		for _, entry := range entries {
			_, _ = fmt.Fprintf(e.Err, "keyrot: warning: %s\n", entry)
		}
	}
	if cfg.Log.Level == "info" {
		cfg.Log.Level = "warn" // the table says what changed
	}
	if o.DryRun {
		undo, failed := withoutTrace(&cfg)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, undo()) }()
	}
	made := e.first(cfg)
	s, err := open(ctx, e, cfg, aws)
	if err != nil {
		return err
	}
	if !o.DryRun {
		made()
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	if s.notify != nil && !o.DryRun {
		defer func() {
			if err := s.notify.Flush(context.WithoutCancel(ctx)); err != nil {
				s.rotator.Log.Warn("notices could not be written down", "err", err)
			}
		}()
	}
	if err := s.mayCreate(ctx, cfg); err != nil {
		return err
	}
	s.forewarn(ctx, e, cfg)
	rep, err := s.rotator.RunOnce(ctx, rotate.Options{Users: o.Users, Force: o.Force, DryRun: o.DryRun, Patience: o.Wait})
	if err != nil {
		return err
	}
	return e.conclude(ctx, s.clock, o, rep)
}

// conclude shows what was done and returns what it comes to. If a signal ended
// ctx, it says who was not reached, or not to the end.
func (e Env) conclude(ctx context.Context, clock *rotate.Clock, o rotateOptions, rep rotate.Report) error {
	total, missed := len(rep.Users)+rep.Missed, rep.Missed
	for i, u := range rep.Users {
		if ctx.Err() != nil && errors.Is(u.Err, ctx.Err()) {
			missed++
			rep.Users[i].Err = errors.New("interrupted; the next pass continues")
			if len(u.Steps) == 0 {
				rep.Users[i].Err = errors.New("not reached")
			}
		}
	}
	if err := e.showReport(clock, o, rep); err != nil {
		return err
	}
	if missed > 0 && ctx.Err() != nil {
		return cutShort(ctx, ctx.Err(), "%d of %d users not reached; run this again to continue", missed, total)
	}
	if rep.Stopped != "" {
		e.say("the pass was stopped: %s", rep.Stopped)
	}
	return verdict(rep)
}

// withoutTrace lets a dry run look at a store that is not there yet without
// making it. undo removes what stood in for it.
func withoutTrace(cfg *config.Config) (undo func() error, err error) {
	if _, err := os.Stat(cfg.Store.Path); cfg.Store.Table != "" || !errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "keyrot-dry-run-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the dry run: %w", err)
	}
	cfg.Store.Path = filepath.Join(dir, "keyrot.db")
	cfg.Store.KeyFile = filepath.Join(dir, "keyrot.key")
	cfg.Audit.Path = filepath.Join(dir, "audit.jsonl")
	return func() error { return os.RemoveAll(dir) }, nil
}

// verdict is bad input if that is all there was, otherwise errSome.
func verdict(rep rotate.Report) error {
	failed := rep.Failed()
	if len(failed) == 0 {
		return nil
	}
	all := len(failed) == len(rep.Users)
	for _, u := range failed {
		all = all && exitCode(u.Err) == 2
	}
	if all {
		errs := make([]error, len(failed))
		for i, u := range failed {
			errs[i] = u.Err
		}
		return errors.Join(errs...)
	}
	some := &marked{fmt.Errorf("%d of %d users failed", len(failed), len(rep.Users)), errSome}
	for _, u := range failed {
		if h := hintFor(u.Err); h != "" {
			return hint.Wrap(some, u.User+": "+h)
		}
	}
	return some
}

// stepView is a step as it is shown.
type stepView struct {
	Action string    `json:"action"`
	Key    string    `json:"key,omitempty"` // whole access key id
	Reason string    `json:"reason,omitempty"`
	Due    time.Time `json:"due,omitzero"`
	Error  string    `json:"error,omitempty"`
}

type userView struct {
	User  string     `json:"user"`
	Steps []stepView `json:"steps"`
	Wait  string     `json:"wait,omitempty"` // why it ended
	Next  time.Time  `json:"next,omitzero"`  // when to look again
	Error string     `json:"error,omitempty"`
}

func viewOfStep(s plan.Step, err error) stepView {
	v := stepView{Action: string(s.Action), Key: s.KeyID, Reason: string(s.Reason), Due: s.Due}
	if err != nil {
		v.Error = err.Error()
	}
	return v
}

func (e Env) showReport(clock *rotate.Clock, o rotateOptions, rep rotate.Report) error {
	views := make([]userView, len(rep.Users))
	for i, u := range rep.Users {
		v := userView{User: u.User, Steps: []stepView{}, Wait: string(u.Wait.Reason), Next: u.Wait.Wake}
		for _, d := range u.Steps {
			v.Steps = append(v.Steps, viewOfStep(d.Step, d.Err))
		}
		if u.Err != nil {
			v.Error = u.Err.Error()
		}
		views[i] = v
	}
	return e.showViews(clock.Now(), o, views)
}

func (e Env) showViews(now time.Time, o rotateOptions, views []userView) error {
	if o.Output == "json" {
		return writeJSON(e.Out, struct {
			DryRun bool       `json:"dry_run"`
			Users  []userView `json:"users"`
		}{o.DryRun, views})
	}
	rows := [][]string{{"USER", "STEP", "KEY", "WHY"}}
	for _, v := range views {
		for _, s := range v.Steps {
			why := s.Reason
			if s.Error != "" {
				why += ": " + s.Error
			}
			rows = append(rows, []string{v.User, s.Action, dash(api.ShortKey(s.Key)), why})
		}
		switch {
		case v.Error != "":
			rows = append(rows, []string{v.User, "failed", "-", v.Error})
		case v.Wait != "":
			why := v.Wait
			if v.Next.After(now) {
				why += ", next look in " + span(v.Next.Sub(now))
			}
			rows = append(rows, []string{v.User, "wait", "-", why})
		}
	}
	if o.DryRun {
		_, _ = fmt.Fprintln(e.Err, "keyrot: dry run, nothing was changed")
	}
	return writeTable(e.Out, rows)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
