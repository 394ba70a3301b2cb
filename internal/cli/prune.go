package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/store/sqlite"
)

// prunable is an audit log that lines can be cut off.
type prunable struct {
	Name  string
	Lines func() (io.ReadCloser, error)
	Prune func(ctx context.Context, before time.Time, dir, actor string) (audit.Segment, error)
}

// pruned is what was cut off a log.
type pruned struct {
	Log string `json:"log"`
	audit.Segment
}

// auditPrune exports and cuts off what is older than audit.keep.
func (e Env) auditPrune(ctx context.Context, o auditOptions) (err error) {
	cfg, err := e.load(o.common)
	if err != nil {
		return err
	}
	switch {
	case cfg.Audit.Keep < 24*time.Hour:
		return usage(fmt.Errorf("audit.keep: %s: must be 24h at least", cfg.Audit.Keep), "say how long lines are kept with --keep")
	case cfg.Audit.Exports == "":
		return usage(errors.New("audit.exports: is empty"), "name a folder for the exported lines with --to")
	}
	if err := storeExists(cfg); err != nil {
		return err
	}
	if _, err := os.Stat(cfg.Audit.Path); cfg.Store.Table == "" && err != nil {
		return usage(fmt.Errorf("opening the audit log: %w", err), "name it with --audit-log")
	}
	clock := e.clockOnly(ctx, cfg)
	st, err := openStore(ctx, cfg, e.Getenv, clock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if !clock.Settle(ctx) {
		return hint.Wrap(errors.New("nothing is pruned: AWS cannot be asked for the time, which says what is old"),
			"nothing of AWS but its answer is needed; see that this machine can reach STS")
	}
	logs, done, err := e.prunables(ctx, cfg, st, clock.Now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	return e.pruneAll(ctx, o, cfg, logs, clock.Now().Add(-cfg.Audit.Keep))
}

// prunables returns the logs that there are, and how they are closed.
func (e Env) prunables(ctx context.Context, cfg config.Config, st store, now func() time.Time) ([]prunable, func() error, error) {
	t, ok := st.(tableStore)
	if !ok {
		log, err := audit.Open(ctx, audit.Options{Path: cfg.Audit.Path, Settings: st, Now: now})
		if err != nil {
			return nil, nil, err
		}
		lines := func() (io.ReadCloser, error) { return os.Open(cfg.Audit.Path) }
		return []prunable{{cfg.Audit.Path, lines, log.Prune}}, func() error { return log.Close(context.WithoutCancel(ctx)) }, nil
	}
	names, err := t.Chains(ctx)
	var logs []prunable
	for _, name := range names {
		c := t.chain(name)
		c.Now = now
		lines := func() (io.ReadCloser, error) { return c.Lines(ctx), nil }
		logs = append(logs, prunable{t.Table + "/" + name, lines, c.Prune})
	}
	return logs, func() error { return nil }, err
}

func (e Env) pruneAll(ctx context.Context, o auditOptions, cfg config.Config, logs []prunable, before time.Time) error {
	if !o.DryRun {
		if err := makeFolder(cfg.Audit.Exports); err != nil {
			return err
		}
	}
	all := []pruned{}
	for _, log := range logs {
		s, err := pruneOne(ctx, log, before, cfg.Audit.Exports, o.DryRun)
		if err != nil {
			return fmt.Errorf("audit log %s: %w", log.Name, err)
		}
		all = append(all, pruned{log.Name, s})
		switch {
		case o.Output == "json":
		case s.Lines == 0:
			_, err = fmt.Fprintf(e.Out, "%s: nothing is older than %s\n", log.Name, span(cfg.Audit.Keep))
		case o.DryRun:
			_, err = fmt.Fprintf(e.Out, "%s: %d records are older than %s, up to number %d\n", log.Name, s.Lines, span(cfg.Audit.Keep), s.To.Seq)
		default:
			_, err = fmt.Fprintf(e.Out, "%s: %d records, up to number %d, are in %s now\n", log.Name, s.Lines, s.To.Seq, s.Path)
		}
		if err != nil {
			return err
		}
	}
	if o.Output == "json" {
		return writeJSON(e.Out, all)
	}
	return nil
}

func pruneOne(ctx context.Context, log prunable, before time.Time, dir string, dry bool) (s audit.Segment, err error) {
	if !dry {
		return log.Prune(ctx, before, dir, operator())
	}
	r, err := log.Lines()
	if err != nil {
		return s, err
	}
	defer func() { _ = r.Close() }() // only read
	old := audit.Before(before)
	for l, err := range audit.Lines(r) {
		if err != nil {
			return s, err
		}
		if !old(l) {
			break
		}
		s.Lines, s.To = s.Lines+1, audit.Tail{Seq: l.Seq, Hash: l.Hash}
	}
	return s, nil
}

// makeFolder makes a folder that only this user can read, if it is missing.
func makeFolder(path string) error {
	dir, err := disk.OpenDir(path, true)
	if err != nil {
		return fmt.Errorf("opening the folder for exports: %w", err)
	}
	return dir.Close()
}

// When a daemon looks for what need not be kept any longer.
const (
	firstPruning = 10 * time.Minute
	pruneEvery   = 6 * time.Hour
)

// pruner cuts off what is older than it is to be kept. A table forgets hand-outs
// by itself, and its log is pruned by a command only.
type pruner struct {
	Config   config.Config
	Clock    *rotate.Clock
	Log      *slog.Logger
	Handouts func(ctx context.Context, before time.Time) (int64, error)
	Audit    func(ctx context.Context, before time.Time, dir, actor string) (audit.Segment, error)
}

// Run looks until ctx ends. What fails is reported and tried again at the next look.
func (p *pruner) Run(ctx context.Context) error {
	for wait := firstPruning; ; wait = pruneEvery {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		if p.Clock.Settle(ctx) { // otherwise nobody knows what is old
			p.prune(ctx, p.Clock.Now())
		}
	}
}

func (p *pruner) prune(ctx context.Context, now time.Time) {
	if keep := p.Config.Handouts.Keep; keep > 0 {
		if n, err := p.Handouts(ctx, now.Add(-keep)); err != nil && ctx.Err() == nil {
			p.Log.Warn("old hand-outs cannot be dropped", "err", err)
		} else if n > 0 {
			p.Log.Info("old hand-outs were dropped; the audit log has them", "count", n)
		}
	}
	keep := p.Config.Audit.Keep
	if keep <= 0 {
		return
	}
	// The rest of the log is copied: so not at every look.
	oldest, err := audit.Oldest(p.Config.Audit.Path)
	if err == nil && (oldest.IsZero() || now.Sub(oldest) <= keep+keep/8) {
		return
	}
	var s audit.Segment
	if err == nil {
		err = makeFolder(p.Config.Audit.Exports)
	}
	if err == nil {
		s, err = p.Audit(ctx, now.Add(-keep), p.Config.Audit.Exports, "keyrot serve")
	}
	switch {
	case errors.Is(err, audit.ErrPruning), errors.Is(err, fs.ErrNotExist), ctx.Err() != nil:
	case err != nil:
		p.Log.Warn("the audit log cannot be pruned; it is kept as it is", "err", err)
	case s.Lines > 0:
		p.Log.Info("the beginning of the audit log was exported and cut off", "count", s.Lines, "file", s.Path)
	}
}

// prunes joins what cuts off old hand-outs and lines of the log, if they are in
// files.
func (s *system) prunes(cfg config.Config, log *slog.Logger) {
	st, file := s.store.(*sqlite.Store)
	l, logged := s.audit.(fileAudit)
	if file && logged {
		s.pruner = &pruner{Config: cfg, Clock: s.clock, Log: log, Handouts: st.PruneHandouts, Audit: l.Prune}
	}
}
