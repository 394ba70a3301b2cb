package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/rotate"
)

type publishOptions struct {
	common
	User   string
	Reason string // for the audit log
	Wait   time.Duration
	DryRun bool
}

func newPublishCmd(run func(context.Context, publishOptions) error) *cobra.Command {
	var o publishOptions
	cmd := &cobra.Command{
		Use:   "publish USER",
		Short: "Publish the active key again",
		Long: `Publish the active key to all targets again, including those that have confirmed
it. Programs and webhooks run once more, with the same id.

At each start and every hour, keyrot checks what files, secrets and parameters
hold, and publishes again what is missing. Use this command for a target that
cannot be checked, or when you do not want to wait.

Exit code 1 means that a target has not confirmed; a running keyrot keeps trying.`,
		Example: "  keyrot publish ci --reason 'the host was reinstalled'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			o.User = args[0]
			return run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Reason, "reason", "", "why, for the audit log")
	cmd.Flags().DurationVar(&o.Wait, "wait", time.Minute, "how long to wait for the targets; 0s leaves it to the daemon")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "show what would be done, without doing it")
	storeFlags(cmd.Flags())
	return cmd
}

func (e Env) publishUser(ctx context.Context, o publishOptions) error {
	return e.withRotator(ctx, o.common, job{Order: true, Dry: o.DryRun}, func(s *system, cfg config.Config) error {
		if len(cfg.Publish) == 0 {
			return usagef("publish: no target is configured")
		}
		if err := s.rotator.Republish(ctx, o.User, o.Reason, operator()); err != nil {
			return err
		}
		if o.DryRun {
			return e.tell(o.common, deed{User: o.User, Did: "publish", DryRun: true}, "the key of %s is published again", o.User)
		}
		rep, err := s.rotator.Published(ctx, o.User, o.Wait)
		if serr := e.showReport(s.clock, rotateOptions{common: o.common}, rotate.Report{Users: []rotate.UserReport{rep}}); serr != nil {
			return serr
		}
		if err == nil {
			_, _ = fmt.Fprintf(e.Err, "keyrot: all targets hold the key of %s\n", o.User)
		}
		if errors.Is(err, rotate.ErrNoKeyReady) {
			return err
		}
		return e.unfinished(cutShort(ctx, err, "a running keyrot continues to publish the key of %s, and so does running this again", o.User))
	})
}
