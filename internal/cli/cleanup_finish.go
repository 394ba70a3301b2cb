package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/seal/kmsseal"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

// finish completes what the rotator had begun: superseded keys go as they
// become due, and nothing new is begun. The stack is gone, so nobody else
// acts.
// late is how many users will have superseded keys when the patience is over.
func (p *deployment) finish(ctx context.Context, r removal, patience time.Duration) (late int, err error) {
	s, kept := r.stack, r.kept
	if kept.Table == "" || len(r.entries) == 0 {
		return 0, nil
	}
	flags := map[string]any{}
	if len(s.Parameters) > 0 { // otherwise nobody knows its schedule, and ours counts
		flags = settingsOf(s)
	}
	flags["store.table"], flags["store.kms_key"] = kept.Table, kept.Key
	cfg, err := p.load(common{Flags: flags}) // any schedule will do: nothing is begun by it
	if err != nil {
		return 0, err
	}
	cfg.Log.Level = "error"
	sys, err := open(ctx, p.Env, cfg, p.aws)
	if err != nil {
		return 0, err
	}
	if _, err := sys.store.List(ctx); errors.Is(err, dynamodb.ErrNoTable) {
		p.say("warning: the table is gone, too: nobody can finish what the rotator had begun; see the users' keys in IAM")
		return 0, sys.close(ctx)
	}
	f := finisher{rotator: sys.rotator, store: sys.store, say: p.say, end: sys.clock.Now().Add(patience)}
	for _, e := range r.entries {
		f.open = append(f.open, waiting{user: e.Record.User})
	}
	err = f.run(ctx)
	return f.late, errors.Join(err, sys.close(ctx))
}

// finisher has each user's superseded keys made inactive and deleted as they
// become due. The rotator's selection was never read, so it begins nothing.
type finisher struct {
	rotator *rotate.Rotator
	store   rotate.Store
	say     func(format string, args ...any)
	end     time.Time // of the patience
	open    []waiting
	failed  int
	late    int // will not be at their end in time
}

// waiting is a user that is not at its end, and when to look at it again.
type waiting struct {
	user string
	due  time.Time
	told bool // of a failure
}

// busy is how soon to look again at a user on whom somebody else acts.
const busy = time.Second

// run looks at all users, then at each when it is due, until all are at their
// end or none will be in time. One user's failure stops nobody.
func (f *finisher) run(ctx context.Context) error {
	total, told := len(f.open), 0
	for len(f.open) > 0 {
		now := f.rotator.Clock.Now()
		var still []waiting
		for i, w := range f.open {
			if w.due.After(now) {
				still = append(still, w)
				continue
			}
			again, err := f.visit(ctx, w)
			if ctx.Err() != nil {
				return f.cut(ctx, len(still)+len(f.open)-i)
			}
			if err != nil {
				f.say("warning: %v", err)
				f.failed++
				continue
			}
			if again != nil {
				still = append(still, *again)
			}
		}
		if f.open = still; len(still) == 0 {
			break
		}
		next := still[0].due
		for _, w := range still {
			if w.due.Before(next) {
				next = w.due
			}
		}
		if told != len(still) {
			told = len(still)
			f.say("waiting for superseded keys of %d users to become due, until %s at the latest", told, f.end.UTC().Format(time.RFC3339))
		}
		t := time.NewTimer(max(time.Millisecond, next.Sub(f.rotator.Clock.Now())))
		select {
		case <-ctx.Done():
			t.Stop()
			return f.cut(ctx, len(still))
		case <-t.C:
		}
	}
	if f.failed > 0 {
		return &marked{hint.Wrap(fmt.Errorf("%d of %d users may have superseded keys that work yet", f.failed, total), goesOn), errSome}
	}
	return nil
}

func (f *finisher) cut(ctx context.Context, open int) error {
	return cutShort(ctx, ctx.Err(), "%d users have superseded keys yet; %s", open, goesOn)
}

// visit makes one pass over the user. nil: it is at its end, or will not be in
// time, and that was told.
func (f *finisher) visit(ctx context.Context, w waiting) (*waiting, error) {
	rep, err := f.rotator.Obey(ctx, w.user, plan.Order{}, 0)
	if err != nil && !errors.Is(err, rotate.ErrOrderOpen) {
		return nil, err
	}
	if final(rep.Err) {
		return nil, rep.Err
	}
	e, err := f.store.Load(ctx, w.user)
	if err != nil {
		return nil, err
	}
	v := keepingOf(e.Record)
	if rep.Err == nil && len(v.Besides) == 0 {
		f.say("%s keeps key %s", w.user, dash(v.Keeps))
		return nil, nil
	}
	switch rep.Wait.Reason {
	case plan.UserGone, plan.Stranger:
		f.say("%s is gone from IAM, or another user now: its keys are left alone", w.user)
		return nil, nil
	case plan.IsPaused:
		f.say("%s is paused: it keeps key %s, and %s as well; delete those in IAM once nobody uses them", w.user, dash(v.Keeps),
			strings.Join(v.Besides, ", "))
		return nil, nil
	}
	now := f.rotator.Clock.Now()
	next := waiting{user: w.user, due: e.Due, told: w.told || rep.Err != nil}
	if soon := now.Add(busy); next.due.Before(soon) {
		next.due = soon
	}
	switch late := next.due.After(f.end); {
	case late && rep.Err != nil:
		return nil, rep.Err
	case late:
		f.late++
		f.say("%s keeps key %s; not due before %s, and left as they are: %s",
			w.user, dash(v.Keeps), next.due.UTC().Format(time.RFC3339), strings.Join(v.Besides, ", "))
		return nil, nil
	case rep.Err != nil && !w.told:
		f.say("warning: %v; tried again at %s", rep.Err, next.due.UTC().Format(time.RFC3339))
	}
	return &next, nil
}

// final reports whether waiting does not help.
func final(err error) bool {
	return errors.Is(err, rotate.ErrDenied) || errors.Is(err, kmsseal.ErrDenied) || err != nil && exitCode(err) == 2
}
