package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

type operateOptions struct {
	common
	User   string
	Key    string        // access key id; empty: the obvious one
	Reason string        // for the audit log
	For    string        // pause: how long
	Wait   time.Duration // how long to stay with it
	DryRun bool
}

// operateRuns are the functions behind the commands that change one user.
type operateRuns struct {
	pause, resume, rollback, burn func(context.Context, operateOptions) error
}

func (e Env) operations() operateRuns {
	return operateRuns{e.pauseUser, e.resumeUser, e.rollbackUser, e.burnUser}
}

func newOperateCmds(run operateRuns) []*cobra.Command {
	make := func(use, short, long, example string, do func(context.Context, operateOptions) error,
		flags func(*cobra.Command, *operateOptions),
	) *cobra.Command {
		var o operateOptions
		cmd := &cobra.Command{
			Use: use + " USER", Short: short, Long: long, Example: "  keyrot " + example, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) (err error) {
				if o.common, err = commonOf(cmd); err != nil {
					return err
				}
				o.User = args[0]
				return do(cmd.Context(), o)
			},
		}
		cmd.Flags().StringVar(&o.Reason, "reason", "", "why, for the audit log")
		cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "show what would be done, without doing it")
		storeFlags(cmd.Flags())
		if flags != nil {
			flags(cmd, &o)
		}
		return cmd
	}
	key := func(help string) func(*cobra.Command, *operateOptions) {
		return func(cmd *cobra.Command, o *operateOptions) {
			cmd.Flags().StringVar(&o.Key, "key", "", help)
			cmd.Flags().DurationVar(&o.Wait, "wait", time.Minute, "how long to wait for AWS to accept a key; 0s leaves it to the daemon")
			selectionFlags(cmd.Flags())
			scheduleFlags(cmd.Flags())
		}
	}
	return []*cobra.Command{
		make("pause", "Freeze a user: nothing changes, and the active key stays available",
			"Freeze a user. Nothing changes in IAM. The active key stays available, and its Expiration\nkeeps moving forward. The pause "+
				"ends with \"keyrot resume\", or after --for.",
			"pause ci --for 2h --reason 'vendor migration'", run.pause, func(cmd *cobra.Command, o *operateOptions) {
				cmd.Flags().StringVar(&o.For, "for", "", "end by itself after this long, such as 2h (default: until resumed)")
			}),
		make("resume", "End a pause", "End a pause. Steps that became due in the meantime follow in the next pass.", "resume ci",
			run.resume, nil),
		make("rollback", "Make the previous key the active one again, then pause",
			"Reactivate the previous key, prove it, hand it out again, and pause the user so that\nnothing undoes it. The newer key "+
				"stays as it is. Possible until the previous key is deleted.",
			"rollback ci --reason 'new key breaks the vendor'", run.rollback, key("the key to go back to (default: the newest previous one)")),
		make("burn", "A key leaked: replace it and make it inactive now",
			"Respond to a leaked key. A new key is made first if that takes less than a minute. The\nleaked key is then made inactive, "+
				"whatever was promised for it, and kept as evidence until\nits slot is needed. keyrot calls AWS with the leaked key: the "+
				"command succeeds once AWS\nrefuses it, and otherwise reports what it saw. Running it again is safe.\n\"keyrot whohas\" "+
				"lists who held the key. This is the only command that can take the last\nworking key away.\n\nWithout AWS credentials, the "+
				"order is recorded and a running keyrot carries it out.",
			"burn ci --key AKIAIOSFODNN7EXAMPLE --reason 'in a public repository'", run.burn, key("the leaked key (default: the active one)")),
	}
}

// job says what a command needs.
type job struct {
	AWS bool // otherwise only the store is worked on
	// Order: what is asked for is noted in the store. Without credentials it stays
	// there for a running keyrot.
	Order bool
	New   bool // the store may be made; otherwise a missing one was misspelt
	Dry   bool // nothing is to be changed
}

// withRotator opens the system for one command and closes it.
func (e Env) withRotator(ctx context.Context, c common, j job, f func(*system, config.Config) error) (err error) {
	cfg, err := e.loadValid(c)
	if err != nil {
		return err
	}
	if err := storeExists(cfg); err != nil && !j.New {
		return err
	}
	if j.Dry {
		undo, failed := withoutTrace(&cfg)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, undo()) }()
	}
	var where cloud
	switch {
	case j.Order:
		where, err = e.connectAWS(ctx, cfg)
	case j.AWS:
		where, err = e.account(ctx, cfg)
	default:
		where.Clock = e.clockOnly(ctx, cfg)
	}
	if err != nil {
		return err
	}
	where.Clock.Settle(ctx) // what the command saves is judged by AWS's time
	if cfg.Log.Level == "info" {
		cfg.Log.Level = "warn" // the command says what it did
	}
	made := e.first(cfg)
	s, err := open(ctx, e, cfg, where)
	if err != nil {
		return err
	}
	if !j.Dry {
		made()
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	s.rotator.Dry = j.Dry
	return f(s, cfg)
}

// deed is what an operator's command did, as JSON.
type deed struct {
	User   string    `json:"user"`
	Did    string    `json:"did"`
	Key    string    `json:"key,omitempty"` // whole access key id
	Until  time.Time `json:"until,omitzero"`
	Caller string    `json:"caller,omitempty"`
	DryRun bool      `json:"dry_run"`
}

// tell says what was done, or would be.
func (e Env) tell(c common, d deed, format string, args ...any) error {
	if d.DryRun {
		_, _ = fmt.Fprintln(e.Err, "keyrot: dry run, nothing was changed; otherwise:")
	}
	_, _ = fmt.Fprintf(e.Err, "keyrot: "+format+"\n", args...)
	if c.Output != "json" {
		return nil
	}
	return writeJSON(e.Out, d)
}

func (e Env) pauseUser(ctx context.Context, o operateOptions) error {
	var d time.Duration
	if o.For != "" {
		var err error
		if d, err = config.ParseDuration(o.For); err != nil || d <= 0 {
			return usagef("--for: %q is not a duration such as 2h", o.For)
		}
	}
	return e.withRotator(ctx, o.common, job{Dry: o.DryRun}, func(s *system, _ config.Config) error {
		var until time.Time
		if d > 0 {
			until = s.clock.Now().Add(d).UTC()
		}
		if err := s.rotator.Pause(ctx, o.User, until, o.Reason, operator()); err != nil {
			return err
		}
		how := `until "keyrot resume"`
		if !until.IsZero() {
			how = "until " + until.Format(time.RFC3339)
		}
		return e.tell(o.common, deed{User: o.User, Did: "pause", Until: until, DryRun: o.DryRun}, "%s is paused %s", o.User, how)
	})
}

func (e Env) resumeUser(ctx context.Context, o operateOptions) error {
	return e.withRotator(ctx, o.common, job{Dry: o.DryRun}, func(s *system, _ config.Config) error {
		err := s.rotator.Resume(ctx, o.User, operator())
		if errors.Is(err, rotate.ErrNotPaused) {
			return &marked{err, errNothing}
		}
		if err != nil {
			return err
		}
		return e.tell(o.common, deed{User: o.User, Did: "resume", DryRun: o.DryRun}, "%s rotates again", o.User)
	})
}

func (e Env) rollbackUser(ctx context.Context, o operateOptions) error {
	return e.carryOut(ctx, o, plan.Rollback)
}

func (e Env) burnUser(ctx context.Context, o operateOptions) error {
	return e.carryOut(ctx, o, plan.Burn)
}

// carryOut saves an order and makes passes until it is done. If AWS cannot be
// reached, the order stays for the daemon.
func (e Env) carryOut(ctx context.Context, o operateOptions, kind plan.OrderKind) error {
	return e.withRotator(ctx, o.common, job{Order: true, Dry: o.DryRun}, func(s *system, _ config.Config) error {
		entry, err := s.store.Load(ctx, o.User)
		if err != nil && !errors.Is(err, rotate.ErrNotFound) { // Order says that
			return err
		}
		key, err := wholeKey(o.Key, keysOf(entry))
		if err != nil {
			return err
		}
		order, err := s.rotator.Order(ctx, o.User, plan.Order{Kind: kind, KeyID: key, By: operator(), Reason: o.Reason})
		if err != nil {
			return err
		}
		if o.DryRun {
			rep, err := s.rotator.Rehearse(ctx, o.User, order)
			if err != nil {
				return err
			}
			return errors.Join(e.showReport(s.clock, rotateOptions{common: o.common, DryRun: true},
				rotate.Report{Users: []rotate.UserReport{rep}}), rep.Err)
		}
		_, _ = fmt.Fprintf(e.Err, "keyrot: %s of key %s of %s is ordered\n", kind, rotate.ShortID(order.KeyID), o.User)
		rep, err := s.rotator.Obey(ctx, o.User, order, o.Wait)
		if serr := e.showReport(s.clock, rotateOptions{common: o.common}, rotate.Report{Users: []rotate.UserReport{rep}}); serr != nil {
			return serr
		}
		if err == nil && kind == plan.Burn {
			_, _ = fmt.Fprintf(e.Err, "keyrot: key %s of %s is burned: AWS refuses it\n", rotate.ShortID(order.KeyID), o.User)
		}
		return e.unfinished(cutShort(ctx, err, "the order is recorded: a running keyrot continues with it, and so does running this again"))
	})
}

// standing is an error of an order that stands: what is missing here is no bad
// input, as a running keyrot has it.
type standing struct{ error }

func (e *standing) Unwrap() error { return e.error }

// unfinished says who carries out an order that stands.
func (e Env) unfinished(err error) error {
	switch {
	case errors.Is(err, rotate.ErrNoIdentity):
		return hint.Wrap(&standing{err}, `the order is recorded: a running keyrot carries it out within seconds, and "keyrot status" `+
			`shows it; to do it from here, provide AWS credentials and run the command again`)
	case errors.Is(err, rotate.ErrOrderOpen):
		return hint.Wrap(err, `the order is recorded: a running keyrot continues with it, and so does running this command again; `+
			`"keyrot status" shows it`)
	}
	return err
}
