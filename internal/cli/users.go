package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

type usersOptions struct {
	common
	Users      []string
	Key        string
	SecretFile string
	DryRun     bool
	Canary     int
	Budget     int // failures that are put up with
	ShowSecret bool
	Caller     string
	Wait       time.Duration
	Init       bool // make the store if there is none
	Yes        bool
}

type usersRuns struct {
	enroll, release, importKey, ack func(context.Context, usersOptions) error
}

func (e Env) usersCmds() usersRuns {
	return usersRuns{e.enrollUsers, e.releaseUser, e.importUser, e.ackUser}
}

func newUsersCmd(run usersRuns) *cobra.Command {
	cmd := &cobra.Command{Use: "users", Short: "Take users on, let them go, import a key", Example: "  keyrot users enroll --dry-run"}
	var o usersOptions
	sub := func(use, short, long, example string, args cobra.PositionalArgs, do func(context.Context, usersOptions) error) *cobra.Command {
		c := &cobra.Command{
			Use: use, Short: short, Long: long, Example: "  keyrot users " + example, Args: args,
			RunE: func(cmd *cobra.Command, args []string) (err error) {
				if o.common, err = commonOf(cmd); err != nil {
					return err
				}
				o.Users = args
				return do(cmd.Context(), o)
			},
		}
		scheduleFlags(c.Flags())
		selectionFlags(c.Flags())
		storeFlags(c.Flags())
		setting(c.Flags(), "existing_keys", "existing-keys", "keys that were there before: refuse or retire")
		c.Flags().DurationVar(&o.Wait, "wait", time.Minute,
			"how long to wait for AWS to accept a new key, beside settle; 0s leaves it to the daemon")
		c.Flags().BoolVar(&o.DryRun, "dry-run", false, "show what would be done, without doing it")
		return c
	}
	enroll := sub("enroll [USER...]", "Take selected users on, a few first",
		"Take selected users on: give each its first key and prove it. With --canary the first N\nmust succeed before the others "+
			"follow; --budget says how many may fail before it stops.",
		"enroll --canary 3 --budget 0", cobra.ArbitraryArgs, run.enroll)
	enroll.Flags().IntVar(&o.Canary, "canary", 0, "take this many on first, and the others only if they succeed")
	enroll.Flags().IntVar(&o.Budget, "budget", 0, "stop after more failures than this")
	release := sub("release USER", "Let a user go with one working key",
		"Let a user go: no new rotation is started, what is under way is finished, and once one key\nis left keyrot forgets the user. "+
			"The key stays active in IAM. Exclude the user from the\nselection as well.",
		"release ci --show-secret > pair.json", cobra.ExactArgs(1), run.release)
	release.Flags().BoolVar(&o.ShowSecret, "show-secret", false, "print the pair that is left, as JSON: the store forgets it")
	release.Flags().BoolVar(&o.Yes, "yes", false, "do not ask whether the secret may go")
	imp := sub("import USER", "Take a user on with the key it has",
		"Take a user on with the key it has. The secret is read from standard input, or --secret-file,\nand proven before anything is "+
			"saved. From then on the key is rotated like any other.",
		"import ci --key AKIAIOSFODNN7EXAMPLE < secret", cobra.ExactArgs(1), run.importKey)
	imp.Flags().StringVar(&o.Key, "key", "", "the access key id (required)")
	imp.Flags().StringVar(&o.SecretFile, "secret-file", "", "file with the secret access key (default: standard input)")
	imp.Flags().BoolVar(&o.Init, "init", false, "make the store if there is none yet, for a daemon that is started later")
	ack := sub("ack USER", "Say that a caller has the new key, so that nothing waits for it",
		"With on_in_use: hold the old key stays while a caller has not fetched the new one. A vendor that\ngets its key by other "+
			"means never will; this says that it has it.",
		"ack vendor --caller ticket-4711", cobra.ExactArgs(1), run.ack)
	ack.Flags().StringVar(&o.Caller, "caller", "", "the caller's API key id, or a name of your own (required)")
	cmd.AddCommand(enroll, release, imp, ack)
	return cmd
}

func (e Env) enrollUsers(ctx context.Context, o usersOptions) error {
	switch {
	case o.Canary < 0 || o.Budget < 0:
		return usagef("--canary and --budget: must not be negative")
	case o.Canary > 0 && o.Wait <= 0:
		return usagef("--canary: needs a --wait: others follow once the first keys are proven")
	}
	return e.withRotator(ctx, o.common, job{AWS: true, New: true, Dry: o.DryRun}, func(s *system, cfg config.Config) error {
		return e.enroll(ctx, o, s, cfg)
	})
}

func (e Env) enroll(ctx context.Context, o usersOptions, s *system, cfg config.Config) error {
	if cfg.Users.Empty() {
		return rotate.ErrNoUsers
	}
	if err := s.mayCreate(ctx, cfg); err != nil {
		return err
	}
	all, err := s.rotator.Selected(ctx, o.Users)
	if err != nil {
		return err
	}
	if o.DryRun {
		progress := rotate.NewProgress(len(all))
		stop := e.showProgress("looked at", progress)
		rep, err := s.rotator.RunOnce(ctx, rotate.Options{Users: o.Users, DryRun: true, Progress: progress})
		stop()
		if err != nil {
			return err
		}
		return e.conclude(ctx, s.clock, rotateOptions{common: o.common, DryRun: true}, rep)
	}
	e.warnOf(s.capacityWith(ctx, cfg, all))
	return e.inWaves(ctx, o, s, all)
}

// firstWave is how many users are enrolled at once after the canaries.
const firstWave = 50

// inWaves enrols the canaries and then the others in waves, each as large as all
// before it, and stops when the budget of failures is spent.
func (e Env) inWaves(ctx context.Context, o usersOptions, s *system, users []string) error {
	var done rotate.Report
	failed := 0
	progress := rotate.NewProgress(len(users))
	stop := sync.OnceFunc(e.showProgress("enrolled", progress))
	defer stop()
	for n := 0; n < len(users); {
		wave := users[n:]
		if n == 0 && o.Canary > 0 {
			wave = wave[:min(o.Canary, len(wave))]
		} else if size := max(firstWave, n-o.Canary); len(wave) > size {
			wave = wave[:size] // twice as many as before, as long as all goes well
		}
		rep, err := s.rotator.RunOnce(ctx, rotate.Options{Users: wave, Patience: o.Wait + s.longestSettle(wave), Progress: progress})
		if ctx.Err() != nil { // what was done before is told
			done.Users = append(done.Users, rep.Users...)
			done.Missed = len(users) - len(done.Users)
			break
		}
		if err != nil {
			return err
		}
		if o.Wait > 0 {
			s.demandKeys(ctx, rep, o.Wait)
		}
		n += len(wave)
		done.Users = append(done.Users, rep.Users...)
		failed += len(rep.Failed())
		if failed > o.Budget && n < len(users) {
			stop()
			_, _ = fmt.Fprintf(e.Err, "keyrot: %d failed, which is more than --budget %d: stopping before %d others\n", failed,
				o.Budget, len(users)-n)
			break
		}
	}
	stop()
	return e.conclude(ctx, s.clock, rotateOptions{common: o.common}, done)
}

// longestSettle is how long the slowest of these users' new keys must have been
// accepted before they are handed out.
func (s *system) longestSettle(users []string) (longest time.Duration) {
	for _, u := range users {
		longest = max(longest, s.rotator.Policy(u).Settle)
	}
	return longest
}

// demandKeys makes failures of the users that have no key to hand out yet: an
// enrolment is done once that is proven.
func (s *system) demandKeys(ctx context.Context, rep rotate.Report, wait time.Duration) {
	for i := range rep.Users {
		u := &rep.Users[i]
		if u.Err != nil {
			continue
		}
		e, err := s.store.Load(ctx, u.User)
		switch {
		case err != nil:
			u.Err = fmt.Errorf("loading %q: %w", u.User, err)
		case e.Record.In(plan.Current) == nil:
			u.Err = hint.Wrap(fmt.Errorf("the new key of %q was not ready within %s (%s)", u.User, span(wait), cmp.Or(u.Wait.Reason, "unproven")),
				`a running keyrot continues with it, and so does running the command again; "keyrot status" shows it`)
		}
	}
}

// showProgress says how far a job has come until it is stopped: every second in
// one line of a terminal, or every ten seconds in a line each.
func (e Env) showProgress(what string, p *rotate.Progress) (stop func()) {
	f, ok := terminalOf(e.Err)
	if !ok {
		return p.Every(10*time.Second, func() { e.say("%s %s", what, p) })
	}
	end := p.Every(time.Second, func() { _, _ = fmt.Fprintf(f, "\r\x1b[Kkeyrot: %s %s", what, p) })
	return func() {
		end()
		_, _ = fmt.Fprint(f, "\r\x1b[K")
	}
}

func (e Env) releaseUser(ctx context.Context, o usersOptions) error {
	name := o.Users[0]
	return e.withRotator(ctx, o.common, job{AWS: true, Dry: o.DryRun}, func(s *system, _ config.Config) error {
		if err := e.secretMayGo(ctx, o, s); err != nil {
			return err
		}
		if err := s.rotator.Release(ctx, name, operator()); err != nil {
			return err
		}
		if o.DryRun {
			return e.tell(o.common, deed{User: name, Did: "release", DryRun: true}, "%s is let go once one key is left", name)
		}
		for {
			var left rotate.Credential
			done, until, err := s.rotator.Let(ctx, name, func(c rotate.Credential) error {
				left = c
				return e.showLeft(o, c)
			})
			switch {
			case err != nil && left.KeyID != "":
				return hint.Wrap(err, fmt.Sprintf("keyrot may still hold key %s; run the command again until it says that %s is forgotten",
					rotate.ShortID(left.KeyID), name))
			case err != nil:
				return err
			case done:
				return e.tellForgotten(o, left)
			}
			wait := until.Sub(s.clock.Now())
			_, _ = fmt.Fprintf(e.Err, "keyrot: %s still has a key that works for others; waiting %s\n", name, span(max(0, wait)))
			t := time.NewTimer(max(wait, time.Second))
			select {
			case <-ctx.Done():
				t.Stop()
				return cutShort(ctx, ctx.Err(), "%s is released, but not forgotten yet; run this again to finish", name)
			case <-t.C:
			}
		}
	})
}

// secretMayGo says that the only copy of a secret goes with the user, and has that
// confirmed if somebody is there to ask.
func (e Env) secretMayGo(ctx context.Context, o usersOptions, s *system) error {
	entry, err := s.store.Load(ctx, o.Users[0])
	switch {
	case errors.Is(err, rotate.ErrNotFound): // Release says so
		return nil
	case err != nil:
		return fmt.Errorf("loading %q: %w", o.Users[0], err)
	case o.ShowSecret, o.DryRun, len(entry.Secrets) == 0:
		return nil
	}
	e.say("warning: the only copy of the secret of %s is deleted; --show-secret prints it first", o.Users[0])
	if in, ok := e.In.(*os.File); o.Yes || !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return e.agreed(ctx, "Let the user go without it?")
}

// showLeft prints the pair that is left, if that is asked for, before keyrot
// forgets it.
func (e Env) showLeft(o usersOptions, left rotate.Credential) error {
	if left.KeyID == "" || !o.ShowSecret {
		return nil
	}
	return writeJSON(e.Out, struct {
		UserName, AccessKeyId, SecretAccessKey string //nolint:revive // as AWS spells it
	}{left.User, left.KeyID, left.Secret.Reveal()})
}

func (e Env) tellForgotten(o usersOptions, left rotate.Credential) error {
	switch {
	case left.KeyID == "":
		_, _ = fmt.Fprintf(e.Err, "keyrot: %s is forgotten; it had no key\n", left.User)
	case o.ShowSecret:
		_, _ = fmt.Fprintf(e.Err, "keyrot: %s is forgotten; key %s stays active in IAM\n", left.User, left.KeyID)
	default:
		return e.tell(o.common, deed{User: left.User, Did: "release", Key: left.KeyID},
			"%s is forgotten; key %s stays active in IAM", left.User, left.KeyID)
	}
	return nil
}

func (e Env) importUser(ctx context.Context, o usersOptions) error {
	if o.Key == "" {
		return usagef("--key: is empty; which key is it?")
	}
	secret, err := e.readSecret(ctx, o)
	if err != nil {
		return err
	}
	return e.withRotator(ctx, o.common, job{AWS: true, New: o.Init, Dry: o.DryRun}, func(s *system, _ config.Config) error {
		err := s.rotator.Import(ctx, o.Users[0], o.Key, secret, operator())
		switch {
		case errors.Is(err, rotate.ErrRefused), errors.Is(err, rotate.ErrNoKey):
			return usage(err, "check the key id and the secret")
		case errors.Is(err, rotate.ErrConflict):
			return usage(fmt.Errorf("user %q is managed already", o.Users[0]), `"keyrot status" shows its keys`)
		case err != nil:
			return err
		}
		d := deed{User: o.Users[0], Did: "import", Key: o.Key, DryRun: o.DryRun}
		if o.DryRun {
			return e.tell(o.common, d, "key %s of %s is imported", rotate.ShortID(d.Key), d.User)
		}
		_, _ = fmt.Fprintf(e.Err, "keyrot: key %s of %s is imported\n", rotate.ShortID(d.Key), d.User)
		rep, err := s.rotator.Obey(ctx, o.Users[0], plan.Order{}, o.Wait)
		err = cutShort(ctx, err, "the import itself is done: a running keyrot rotates the key")
		return errors.Join(e.showReport(s.clock, rotateOptions{common: o.common}, rotate.Report{Users: []rotate.UserReport{rep}}), err)
	})
}

// readSecret reads one line from the file, or from standard input, where a
// terminal does not show it.
func (e Env) readSecret(ctx context.Context, o usersOptions) (rotate.Secret, error) {
	if o.SecretFile != "" {
		e.In = nil
		err := disk.Trusted(o.SecretFile)
		if err == nil {
			var f *os.File
			if f, err = os.Open(o.SecretFile); err == nil {
				defer func() { _ = f.Close() }() // only read
				e.In = f
			}
		}
		if err != nil {
			return rotate.Secret{}, usage(fmt.Errorf("--secret-file: %w", err), "")
		}
	}
	line, err := e.askSecret(ctx, "secret access key of "+o.Key)
	if err == nil && line == "" {
		err = usage(errors.New("the secret access key is missing"), "give it on standard input, or in a file with --secret-file")
	}
	return rotate.NewSecret(line), err
}

func (e Env) ackUser(ctx context.Context, o usersOptions) error {
	if o.Caller == "" {
		return usagef("--caller: is empty; who has the key?")
	}
	return e.withRotator(ctx, o.common, job{Dry: o.DryRun}, func(s *system, _ config.Config) error {
		if err := s.rotator.Acknowledge(ctx, o.Users[0], o.Caller, operator()); err != nil {
			return err
		}
		d := deed{User: o.Users[0], Did: "ack", Caller: o.Caller, DryRun: o.DryRun}
		return e.tell(o.common, d, "noted that %s has the active key of %s", d.Caller, d.User)
	})
}
