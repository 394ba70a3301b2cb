package cli

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// recallTime bounds how long a command waits for the rates that were learnt.
const recallTime = 5 * time.Second

// capacityOf says whether so many users can be rotated every so often. found is
// what IAM was found to allow of each action; for others iam.rate counts.
func capacityOf(cfg config.Config, users int, every time.Duration, found map[rotate.Call]float64) plan.Capacity {
	rate := func(c rotate.Call) float64 {
		if r, ok := found[c]; ok {
			return min(r, cfg.IAM.Rate)
		}
		return cfg.IAM.Rate
	}
	return plan.Load{
		Users: users, Every: every, Workers: cfg.Workers,
		Creates: rate(rotate.CreateAccessKey), Updates: rate(rotate.UpdateAccessKey), Deletes: rate(rotate.DeleteAccessKey),
	}.Capacity()
}

// capacityFor is capacityOf for these users, each with its own schedule.
func capacityFor(cfg config.Config, users []string, found map[rotate.Call]float64) plan.Capacity {
	every := make([]time.Duration, len(users))
	for i, u := range users {
		every[i] = cfg.Policy(u).RotateEvery
	}
	return capacityOf(cfg, len(users), plan.MeanInterval(every), found)
}

// infeasible is the error for what cannot be kept.
func infeasible(c plan.Capacity) error {
	return hint.Wrap(errors.New(c.Complaint()), c.Remedy())
}

// sealed reports whether there is a store, and the key for what is sealed in it.
func (e Env) sealed(cfg config.Config) bool {
	if cfg.Store.Table != "" {
		return true
	}
	_, err := os.Stat(cfg.Store.KeyFile)
	return storeExists(cfg) == nil && (err == nil || e.Getenv(sealKeyVariable) != "")
}

// found returns what earlier processes have found IAM to allow. That it cannot
// be read, because there is no store or no key for it, is no failure.
func (e Env) found(ctx context.Context, cfg config.Config) map[rotate.Call]float64 {
	if !e.sealed(cfg) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recallTime)
	defer cancel()
	st, err := openStore(ctx, cfg, e.Getenv, &rotate.Clock{Wall: e.Now})
	if err != nil {
		return nil
	}
	defer func() { _ = st.Close() }() // only read
	found, _ := pace.Recall(ctx, st, cfg.IAM.Rate, e.Now())
	return found
}

// forewarn says before anything begins that the users that are known cannot all
// be rotated on time. It never refuses: late keys work, and a daemon that does
// not start rotates nobody.
func (s *system) forewarn(ctx context.Context, e Env, cfg config.Config) {
	e.warnOf(s.capacityWith(ctx, cfg, cfg.Users.Names))
}

// capacityWith is the capacity for those users beside the ones in the store.
func (s *system) capacityWith(ctx context.Context, cfg config.Config, users []string) plan.Capacity {
	users = slices.Clone(users)
	entries, err := s.store.List(ctx)
	if err != nil {
		return plan.Capacity{Feasible: true} // whoever needs the store says so
	}
	for _, entry := range entries {
		users = append(users, entry.Record.User)
	}
	slices.Sort(users)
	s.pace.Recall(ctx)
	return capacityFor(cfg, slices.Compact(users), s.pace.Found())
}

// capacity returns what is known while the system runs.
func (s *system) capacity(cfg config.Config) func(int, time.Duration) plan.Capacity {
	return func(users int, every time.Duration) plan.Capacity {
		return capacityOf(cfg, users, every, s.pace.Found())
	}
}

// foresee logs when users will become late, and when they will not any more, as
// users are added and rates are found. It keeps what the metrics say of that up to
// date, and ends with ctx.
func (s *system) foresee(ctx context.Context) error {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	late := false
	_, _ = s.health.Health(ctx) // what is wrong at the start was told before
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		h, err := s.health.Health(ctx)
		if err != nil || (h.WillBeOverdue > 0) == late {
			continue
		}
		if late = !late; !late {
			s.rotator.Log.Info("all users can be rotated on time again", "users", h.Users)
			continue
		}
		c := s.health.Capacity()
		s.rotator.Log.Warn("users will be overdue", "why", c.Complaint(), "do", c.Remedy())
	}
}

func (e Env) warnOf(c plan.Capacity) {
	if !c.Feasible {
		e.say("warning: %s", c.Complaint())
		e.say("hint: %s", c.Remedy())
	}
}
