package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sesv2"
	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/doctor"
	"github.com/keyrot/keyrot/internal/printable"
	"github.com/keyrot/keyrot/pkg/awsiam"
	"github.com/keyrot/keyrot/pkg/deploy"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

func newDoctorCmd(run func(context.Context, common) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what would keep keyrot from keeping its promises",
		Long: `Look for what would keep keyrot from keeping its promises: schedule, selection, capacity, clock,
foreign keys, permissions, session tokens, what "keyrot serve" opens (settings, audit log, address and certificate,
publish targets, mail server), the table, overdue users, SES, callers without an API key.
Each line is ok, warn or fail, with the fix.
Nothing is changed: permissions are tried on a key that does not exist, and simulated; targets are
reached, and nothing is published or sent.

Exit code 1 means that a check failed.`,
		Example: "  keyrot doctor\n  keyrot doctor -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := commonOf(cmd)
			if err != nil {
				return err
			}
			return run(cmd.Context(), c)
		},
	}
	scheduleFlags(cmd.Flags())
	selectionFlags(cmd.Flags())
	storeFlags(cmd.Flags())
	setting(cmd.Flags(), "consumer_refresh", "consumer-refresh", "how often the slowest consumer asks for its key")
	return cmd
}

func (e Env) doctor(ctx context.Context, c common) error {
	cfg, err := e.load(c) // an impossible schedule is a finding
	if err != nil {
		return err
	}
	where, err := e.account(ctx, cfg)
	if err != nil {
		return err
	}
	p := doctor.Patient{
		IAM: where.IAM, Select: where.Select, Existing: rotate.ExistingKeys(cfg.ExistingKeys),
		Policy: cfg.PolicyAt(where.Clock.Now), Tick: config.Tick, Refresh: cfg.ConsumerRefresh, Clock: where.Clock, Now: e.Now,
		Simulate: simulator(ctx, where.SDK), Unmatched: where.Matches.unmatched,
	}
	known := e.found(ctx, cfg)
	p.Capacity = func(users []string) plan.Capacity { return capacityFor(cfg, users, known) }
	if cfg.Notify.SES.From != "" {
		p.Mail = mailCheck(where.Config, cfg.Notify.SES.From)
	}
	v, err := verifier(ctx, cfg.Server, where.Config, where.Clock.Now)
	if err != nil {
		return err
	}
	if v != nil {
		p.Callers = func(ctx context.Context) (all []doctor.Caller) {
			for _, c := range v.Check(ctx) {
				all = append(all, doctor.Caller(c))
			}
			return all
		}
	}
	p.Parts = e.parts(cfg, where)
	if st, err := openExisting(ctx, cfg, where.Clock); err == nil {
		defer func() { _ = st.Close() }() // only read
		p.Entries = st.List
		if t, ok := st.(tableStore); ok {
			p.Table = t.examine
		}
	} else if !errors.Is(err, errUsage) { // no store yet is fine
		return err
	}
	findings := doctor.Examine(ctx, p)
	return errors.Join(e.showFindings(c, findings), diagnosis(findings))
}

// examine tells doctor how the table is set up.
func (t tableStore) examine(ctx context.Context) doctor.Table {
	found := doctor.Table{Name: t.Table}
	single := t.Single(ctx)
	d, err := t.Describe(ctx)
	if errors.Is(single, dynamodb.ErrGlobal) {
		found.Global, single = single, nil
	}
	found.TTL, found.Backups, found.Err = d.TTL, d.Backups, errors.Join(single, err)
	return found
}

// simulator returns what asks IAM's policy simulator, or nil where there is
// none.
func simulator(ctx context.Context, iam *awsiam.IAM) func(context.Context, rotate.User) (doctor.Simulation, error) {
	if iam == nil {
		return nil
	}
	self, err := iam.Self(ctx)
	if err != nil {
		return nil
	}
	return func(ctx context.Context, u rotate.User) (doctor.Simulation, error) {
		denied, err := iam.Denied(ctx, self, u)
		if err != nil {
			return doctor.Simulation{}, err
		}
		guarded, err := iam.SessionsDenied(ctx, u)
		return doctor.Simulation{Denied: denied, SessionsGuard: guarded}, err
	}
}

// mailCheck returns what asks SES whether the sender may send, and to whom.
func mailCheck(sdk aws.Config, sender string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		d := deploy.New(sdk, "")
		account, err := d.MailAccount(ctx)
		if err != nil {
			return "", err
		}
		a, err := d.Mail.GetEmailIdentity(ctx, &sesv2.GetEmailIdentityInput{EmailIdentity: &sender})
		switch {
		case err != nil:
			return "", fmt.Errorf("asking SES about %s: %w", sender, err)
		case !a.VerifiedForSendingStatus:
			return "", fmt.Errorf("%s is not verified with SES", sender)
		case account.Sandbox:
			return "", fmt.Errorf("%s is verified, but %s", sender, account)
		}
		return fmt.Sprintf("%s is verified; %s", sender, account), nil
	}
}

func (e Env) showFindings(c common, all []doctor.Finding) error {
	if c.Output == "json" {
		return writeJSON(e.Out, all)
	}
	out := printable.Writer{Writer: e.Out}
	for _, f := range all {
		if _, err := fmt.Fprintf(out, "%-5s %-14s %s\n", f.Status, f.Check, f.Text); err != nil {
			return err
		}
		if f.Fix != "" && f.Status != doctor.OK {
			_, _ = fmt.Fprintf(out, "      %-14s fix: %s\n", "", f.Fix)
		}
	}
	return nil
}

func diagnosis(all []doctor.Finding) error {
	n := 0
	for _, f := range all {
		if f.Status == doctor.Fail {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d checks failed", n)
}
