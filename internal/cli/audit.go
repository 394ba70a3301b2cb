package cli

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/internal/printable"
	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
)

type auditOptions struct {
	common
	Since  string
	Format string
	DryRun bool
	// Exports are files of the lines before the log's own.
	Exports []string
}

type auditRuns struct {
	verify, report, prune func(context.Context, auditOptions) error
}

func newAuditCmd(run auditRuns) *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "Prove the audit log, make evidence from it, or cut off what is old",
		Example: "  keyrot audit verify\n  keyrot audit report --since 90d --format csv\n  keyrot audit prune --to /var/backups/keyrot",
	}
	var o auditOptions
	sub := func(use, short, example string, do func(context.Context, auditOptions) error) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Example: "  keyrot audit " + example, Args: cobra.ArbitraryArgs,
			RunE: func(cmd *cobra.Command, args []string) (err error) {
				if o.common, err = commonOf(cmd); err != nil {
					return err
				}
				o.Exports = args
				return do(cmd.Context(), o)
			},
		}
	}
	verify := sub("verify [FILE]…", "Check that no line was changed, dropped or reordered", "verify", run.verify)
	report := sub("report [FILE]…", "List every key's life, planned against actual", "report --since 90d --format csv", run.report)
	report.Flags().StringVar(&o.Since, "since", "90d", "how far back")
	report.Flags().StringVar(&o.Format, "format", "csv", "csv or json")
	prune := sub("prune", "Export old lines and cut them off the log", "prune --keep 400d --to /var/backups/keyrot", run.prune)
	prune.Args = cobra.NoArgs
	prune.Long = `Export the lines that are older than --keep to a compressed file, read it back
and cut them off the log. A line of the log says what is missing and names the
export's SHA-256, so that "audit verify" still proves the rest. Nothing is cut
off a log that cannot be proven. "audit verify" and "audit report" read exports
that they are given, the oldest first, before the log.`
	setting(prune.Flags(), "audit.keep", "keep", "how long lines stay in the log (default 400d)")
	setting(prune.Flags(), "audit.exports", "to", "folder for the export (default: that of the log)")
	prune.Flags().BoolVar(&o.DryRun, "dry-run", false, "show what would be cut off, without doing it")
	storeFlags(cmd.PersistentFlags())
	setting(cmd.PersistentFlags(), "audit.path", "audit-log", "the log (default: audit.jsonl beside the store)")
	cmd.AddCommand(verify, report, prune)
	return cmd
}

func (e Env) auditing() auditRuns { return auditRuns{e.auditVerify, e.auditReport, e.auditPrune} }

func (e Env) auditVerify(ctx context.Context, o auditOptions) (err error) {
	cfg, err := e.load(o.common)
	if err != nil {
		return err
	}
	st, err := openKept(ctx, cfg, e.Getenv, &rotate.Clock{}) // the anchor there is sealed
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if t, ok := st.(tableStore); ok {
		if len(o.Exports) > 0 {
			return usagef("verify: exports are proven together with a file, not with a table, which has several logs")
		}
		return e.verifyChains(ctx, o, t)
	}
	tail, err := audit.VerifyFile(ctx, cfg.Audit.Path, st, o.Exports...)
	if errors.Is(err, fs.ErrNotExist) {
		err = hint.Wrap(err, "name it with --audit-log; if it was there, somebody has removed it")
	}
	if err != nil {
		return fmt.Errorf("audit log %s: %w", cfg.Audit.Path, err)
	}
	if o.Output == "json" {
		return writeJSON(e.Out, tail)
	}
	_, err = fmt.Fprintf(e.Out, "%s: %d records, the chain holds\n", cfg.Audit.Path, tail.Seq)
	return err
}

func (e Env) auditReport(ctx context.Context, o auditOptions) (err error) {
	cfg, err := e.load(o.common)
	if err != nil {
		return err
	}
	since, err := config.ParseDuration(o.Since)
	if err != nil {
		return usagef("--since: %w", err)
	}
	if o.Format != "csv" && o.Format != "json" {
		return usagef("--format: %q is not one of csv, json", o.Format)
	}
	lines, done, err := openLines(ctx, cfg, o.Exports)
	if err != nil {
		return err
	}
	defer func() { _ = done.Close() }() // only read
	lives, err := audit.Lives(lines, e.Now().Add(-since))
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if o.Format == "json" || o.Output == "json" {
		return writeJSON(e.Out, lives)
	}
	return e.writeLives(lives)
}

// openLines opens the log to read it, with what log rotation has moved away if
// no other files are named.
func openLines(ctx context.Context, cfg config.Config, others []string) (lines iter.Seq2[audit.Line, error], done io.Closer, err error) {
	if cfg.Store.Table != "" {
		if len(others) > 0 {
			return nil, nil, usagef("report: exports are read together with a file, not with a table, which has several logs")
		}
		st, err := connectTable(ctx, cfg, &rotate.Clock{})
		if err != nil {
			return nil, nil, err
		}
		chains, err := exportChains(ctx, st.(tableStore))
		if err != nil {
			return nil, nil, err
		}
		return audit.Lines(chains), chains, nil
	}
	if len(others) == 0 {
		if others, err = audit.Rotated(cfg.Audit.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("looking for what was moved away: %w", err)
		}
	}
	files, err := audit.OpenFiles(ctx, cfg.Audit.Path, others...)
	if err != nil {
		advice := ""
		if errors.Is(err, fs.ErrNotExist) {
			advice = "name it with --audit-log"
		}
		return nil, nil, usage(fmt.Errorf("opening the audit log: %w", err), advice)
	}
	return files.Lines(), files, nil
}

// writeLives writes the evidence that CIS 1.14, Security Hub IAM.3 and the
// Config rule access-keys-rotated ask for: how old every key became.
func (e Env) writeLives(lives []audit.Life) error {
	w := csv.NewWriter(e.Out)
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	rows := [][]string{{
		"user", "access_key_id", "created_planned", "created", "verified", "promoted", "deactivated_planned",
		"deactivated", "deleted", "age_days_when_deactivated", "handouts", "reason", "reactivated",
	}}
	for _, l := range lives {
		age := ""
		if !l.Created.IsZero() && !l.Deactivated.IsZero() {
			age = strconv.FormatFloat(l.Deactivated.Sub(l.Created).Hours()/24, 'f', 4, 64)
		}
		rows = append(rows, []string{
			printable.Line(l.User), l.Key, stamp(l.CreatePlanned), stamp(l.Created), stamp(l.Verified), stamp(l.Promoted),
			stamp(l.DeactivatePlanned), stamp(l.Deactivated), stamp(l.Deleted), age, strconv.Itoa(l.Handouts), printable.Line(l.Reason),
			stamp(l.Reactivated),
		})
	}
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	return w.Error()
}
