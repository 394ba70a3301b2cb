package sim

import (
	"context"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// settle ends all troubles, lets one daemon run for a while and checks that
// the world is in order: no orphans, no user without a working key.
func (s *simulation) settle() {
	s.aws.Change(func(a *rotatetest.AWS) {
		a.Errors, a.Lost, a.Late, a.Spells = 0, 0, 0, nil
		if s.Faults.OldLists > 0 {
			a.List.Max = s.lists()
		}
	})
	calm := s.Config
	calm.Faults = Faults{Consistency: s.Faults.Consistency, Copies: s.Faults.Copies}
	s.Config = calm
	ctx, cancel := context.WithTimeout(context.Background(), 3*s.Policy.DeleteAfter+10*time.Minute)
	defer cancel()
	s.optional.outages = nil
	s.daemon(ctx, s.Daemons)
	es, err := s.store.List(context.Background())
	if err != nil {
		s.violation("listing the store: %v", err)
	}
	for _, e := range es {
		s.inspect(e.Record)
	}
	s.inspectBurns()
	sort.Strings(s.result.Violations)
}

// inspect compares what a user has with what the record says.
func (s *simulation) inspect(r plan.Record) {
	held := map[string]bool{}
	for _, k := range r.Keys {
		held[k.ID] = true
	}
	var extra []string
	told := false // of two keys for one lost call neither is touched, only told
	for _, k := range s.aws.Truth(r.User) {
		switch {
		case held[k.ID] || s.foreign[k.ID]:
		case s.others && slices.Contains(r.Foreign, k.ID):
			told = true
			s.note(func() { s.result.Left++ })
		default:
			extra = append(extra, k.ID)
		}
	}
	if len(extra) > 0 {
		s.violation("orphans die: %s still has %s", r.User, strings.Join(extra, ", "))
	}
	s.inspectCopies(r)
	if o, ok := plan.Serve(r, s.policyOf(r.User), time.Now()); !ok && !s.isExcused(r.User) {
		s.violation("never zero: %s has nothing to serve in the end", r.User)
	} else if since, late := plan.Overdue(r, s.policyOf(r.User), time.Now()); ok && late && !told && !s.Tight && !s.isExcused(r.User) &&
		len(s.aws.Truth(r.User)) <= 1+len(r.Keys) {
		s.violation("on time: %s is overdue since %s in a calm world, serving %s, waiting for %q", r.User,
			since.Format(time.TimeOnly), o.KeyID, r.Waiting)
	}
}
