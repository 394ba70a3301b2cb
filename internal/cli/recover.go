package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

type recoverOptions struct {
	common
	Users  []string
	Ours   []string // ids of keys that keyrot made
	Keep   []string // ids of keys that are somebody else's
	Room   []string // ids of keys that may make room
	Yes    bool
	DryRun bool
	Wait   time.Duration
}

func newRecoverCmd(run func(context.Context, recoverOptions) error) *cobra.Command {
	var o recoverOptions
	cmd := &cobra.Command{
		Use:   "recover [USER...]",
		Short: "Replace the keys that a restored store does not know",
		Long: `After an older copy of the store is restored, only IAM knows the keys made since then:
nobody has their secrets, and they occupy the places of new keys. This command finds them
and replaces them, asking for each user. A new key is made and proven first; the lost key
is removed once no promise for it can still be open.

A user that is not in the store was enrolled after the copy was made, or never: you are
asked which of its keys keyrot made, or say so with --ours. Other keys are left alone, and
so are those that you name with --keep.

A user with two keys has no room for a new one. An inactive key is removed first; if both
are active, you choose one, when asked or with --make-room, and the other stays active
until the new key is in use. The last working key is never removed.

Stop all daemons and functions before you restore a store, and start them when this is done.`,
		Example: "  keyrot recover --dry-run\n  keyrot recover ci --make-room AKIAIOSFODNN7EXAMPLE --yes",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			o.Users = args
			return run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.Ours, "ours", nil, "access key id that keyrot made, although the store does not know its user (may be repeated)")
	f.StringArrayVar(&o.Keep, "keep", nil, "access key id that is somebody else's and is left alone (may be repeated)")
	f.StringArrayVar(&o.Room, "make-room", nil, "access key id to remove if there is no room for a new key (may be repeated)")
	f.BoolVar(&o.Yes, "yes", false, "do not ask; users with two active keys need --make-room, unknown users --ours")
	f.BoolVar(&o.DryRun, "dry-run", false, "show what would be done, without doing it")
	f.DurationVar(&o.Wait, "wait", time.Minute, "how long to wait for each user's new key; 0s leaves it to the daemon")
	scheduleFlags(f)
	selectionFlags(f)
	storeFlags(f)
	return cmd
}

func (e Env) recoverUsers(ctx context.Context, o recoverOptions) error {
	return e.withRotator(ctx, o.common, job{AWS: true, Dry: o.DryRun}, func(s *system, cfg config.Config) error {
		if cfg.Users.Empty() {
			return rotate.ErrNoUsers
		}
		return e.recoverIn(ctx, o, s)
	})
}

// recoverIn goes through the users with unknown keys.
func (e Env) recoverIn(ctx context.Context, o recoverOptions, s *system) error {
	losses, err := s.rotator.Losses(ctx, o.Users)
	if err != nil {
		return err
	}
	if len(losses) == 0 {
		_, _ = fmt.Fprintln(e.Err, "keyrot: no unknown keys found, and every user has a key to hand out")
		return errNothing
	}
	var ids []string
	for _, l := range losses {
		ids = append(ids, idsOf(l)...)
	}
	for _, texts := range [][]string{o.Ours, o.Keep, o.Room} {
		for i := range texts {
			if texts[i], err = wholeKey(texts[i], ids); err != nil {
				return err
			}
		}
	}
	var all rotate.Report
	for _, l := range losses {
		all.Users = append(all.Users, e.recoverUser(ctx, o, s, l))
		if ctx.Err() != nil {
			break
		}
	}
	all.Missed = len(losses) - len(all.Users)
	return e.conclude(ctx, s.clock, rotateOptions{common: o.common, DryRun: o.DryRun}, all)
}

func (e Env) recoverUser(ctx context.Context, o recoverOptions, s *system, l rotate.Loss) rotate.UserReport {
	user := l.User.Name
	failed := func(err error) rotate.UserReport { return rotate.UserReport{User: user, Err: err} }
	if l.Err != nil {
		return failed(l.Err)
	}
	e.describe(s, l)
	if err := e.claim(ctx, o, &l); err != nil {
		return failed(err)
	}
	if len(l.Lost) == 0 && !l.Bereft {
		_, _ = fmt.Fprintf(e.Err, "keyrot: %s is left as it is: no key is known to be keyrot's; name it with --ours if keyrot made it\n", user)
		return rotate.UserReport{User: user, Wait: plan.Step{Action: plan.Wait, Reason: plan.ForeignKey}}
	}
	room, err := e.makeRoom(ctx, o, l)
	if err != nil {
		return failed(err)
	}
	if room != "" {
		_, _ = fmt.Fprintf(e.Err, "keyrot: key %s is removed first, to make room; the other keys stay until a new one is in use\n", room)
	}
	question := "Replace the unknown keys of %s?"
	if len(l.Lost) == 0 {
		question = "Find or make another key for %s?"
	}
	if !o.Yes && !o.DryRun {
		if err := e.agreed(ctx, fmt.Sprintf(question, user)); err != nil {
			return failed(err)
		}
	}
	order, err := s.rotator.Recover(ctx, l, room, operator())
	switch {
	case err != nil:
		return failed(err)
	case o.DryRun && l.New:
		return rotate.UserReport{User: user, Wait: plan.Step{Action: plan.Wait, Reason: plan.Recovering}}
	case o.DryRun:
		rep, err := s.rotator.Rehearse(ctx, user, order)
		rep.Err = errors.Join(rep.Err, err)
		return rep
	}
	rep, err := s.rotator.Obey(ctx, user, order, o.Wait)
	rep.Err = err
	return rep
}

// claim has l.Lost be the keys that keyrot made: those that are newer than the
// record, and those that the operator says it made.
func (e Env) claim(ctx context.Context, o recoverOptions, l *rotate.Loss) (err error) {
	l.Lost = slices.DeleteFunc(l.Lost, func(id string) bool { return slices.Contains(o.Keep, id) })
	for _, id := range l.Unclear {
		ours := slices.Contains(o.Ours, id)
		if !ours && !slices.Contains(o.Keep, id) && !o.Yes && !o.DryRun {
			ours, err = e.confirmed(ctx, fmt.Sprintf("The store does not say whose key %s of %s is. Did keyrot make it?", id, l.User.Name))
			if err != nil {
				return err
			}
		}
		if ours {
			l.Lost = append(l.Lost, id)
		}
	}
	return nil
}

func idsOf(l rotate.Loss) (ids []string) {
	for _, k := range l.Keys {
		ids = append(ids, k.ID)
	}
	return ids
}

// describe says which keys the user has.
func (e Env) describe(s *system, l rotate.Loss) {
	if l.Bereft {
		_, _ = fmt.Fprintf(e.Err, "keyrot: %s has no key that could be handed out\n", l.User.Name)
	}
	for _, k := range l.Keys {
		used := "never used"
		switch {
		case !k.Usage.Known:
			used = "last use unknown"
		case !k.Usage.LastUsed.IsZero():
			used = "last used " + span(max(0, s.clock.Now().Sub(k.Usage.LastUsed))) + " ago"
		}
		what := "known"
		if slices.Contains(l.Lost, k.ID) || slices.Contains(l.Unclear, k.ID) {
			what = "unknown"
		}
		_, _ = fmt.Fprintf(e.Err, "keyrot: %s has key %s: %s, %s, created %s, %s\n",
			l.User.Name, k.ID, what, strings.ToLower(string(k.Status)), k.Created.UTC().Format(time.RFC3339), used)
	}
}

// makeRoom returns the key that may go; "" if none has to.
func (e Env) makeRoom(ctx context.Context, o recoverOptions, l rotate.Loss) (string, error) {
	for _, k := range l.Keys {
		if slices.Contains(o.Room, k.ID) {
			return k.ID, nil
		}
	}
	switch idle := l.Idle(); {
	case !l.Full:
		return "", nil
	case idle != "":
		return idle, nil
	case !o.Yes && !o.DryRun:
		id, err := e.ask(ctx, fmt.Sprintf("There is no room for a new key. Id of the key of %s to remove: ", l.User.Name))
		if err != nil {
			return "", err
		}
		if id, err = wholeKey(id, idsOf(l)); err != nil {
			return "", err
		}
		if slices.Contains(idsOf(l), id) {
			return id, nil
		}
	}
	return "", usage(fmt.Errorf("user %q has two keys and no room for a new one", l.User.Name),
		"choose the key to remove with --make-room; callers that still use it will fail")
}
