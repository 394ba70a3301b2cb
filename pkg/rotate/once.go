package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// RunOnce makes one pass over the selected users: it enrols the new ones and
// does what is due. It returns an error if the selection could not be read or
// an option names a user outside it; what went wrong for single users is in
// the report, and never stops the others.
//
// An unattended pass does not wait for the selection if it knows an earlier one:
// it begins with those users while the selection is read, and goes on with the
// new ones.
func (r *Rotator) RunOnce(ctx context.Context, o Options) (Report, error) {
	r.init()
	if o.Unattended && len(o.Users) == 0 && !o.DryRun && r.recall(ctx) {
		return r.continueWith(ctx, o)
	}
	users, err := r.choose(ctx, o.Users)
	if o.Unattended {
		err = r.known(users, err)
	}
	if err != nil {
		return Report{}, err
	}
	if o.Unattended && !o.DryRun {
		r.keep(ctx)
	}
	p, err := r.read(ctx, o)
	if err != nil {
		return Report{}, err
	}
	users = p.underKnownNames(users)
	if len(o.Users) == 0 {
		users = append(users, p.unselected(users)...)
	}
	return p.report(ctx, p.visitAll(ctx, users), len(users), nil), nil
}

// Selected returns the names under which keyrot manages the selected users, or
// those of them that are given. Its errors are those of RunOnce.
func (r *Rotator) Selected(ctx context.Context, names []string) ([]string, error) {
	r.init()
	users, err := r.choose(ctx, names)
	if err != nil {
		return nil, err
	}
	p, err := r.read(ctx, Options{})
	if err != nil {
		return nil, err
	}
	users = p.underKnownNames(users)
	known := make([]string, len(users))
	for i, u := range users {
		known[i] = u.Name
	}
	return known, nil
}

// known drops the error about selected names that IAM does not know if there are
// others: one deleted user must not stop the rotation of the others.
func (r *Rotator) known(users []User, err error) error {
	if errors.Is(err, ErrNoUser) && len(users) > 0 {
		r.Log.Warn("a selected user does not exist", "err", err)
		return nil
	}
	return err
}

// continueWith makes a pass over the users of the last selection, reading it
// again beside that if it is old, and then over those that are new.
func (r *Rotator) continueWith(ctx context.Context, o Options) (Report, error) {
	type reading struct {
		users []User
		err   error
	}
	fresh := make(chan reading, 1)
	if r.selected.fresh(r.now()) {
		fresh <- reading{}
	} else {
		go func() { // ends with Select, which ends with ctx
			users, err := r.choose(ctx, nil)
			fresh <- reading{users, r.known(users, err)}
		}()
	}
	p, err := r.read(ctx, o)
	if err != nil {
		<-fresh
		return Report{}, err
	}
	var first []User
	last, recalled := r.selected.list()
	for _, u := range p.underKnownNames(last) {
		if _, stored := p.stored[u.Name]; stored || !recalled { // who is new has to be found by this process
			first = append(first, u)
		}
	}
	first = append(first, p.unselected(first)...)
	reports := p.visitAll(ctx, first)
	got := <-fresh
	if got.err != nil {
		r.Log.Warn("nobody new is managed until the selection can be read; those of the last one still are", "err", got.err)
		return p.report(ctx, reports, len(first), got.err), nil
	}
	if len(got.users) > 0 {
		r.keep(ctx)
	}
	seen := map[string]bool{}
	for _, u := range first {
		seen[u.Name] = true
	}
	later := slices.DeleteFunc(p.underKnownNames(got.users), func(u User) bool { return seen[u.Name] })
	return p.report(ctx, append(reports, p.visitAll(ctx, later)...), len(first)+len(later), nil), nil
}

// once is a pass over many users.
type once struct {
	*Rotator
	o      Options
	all    []*Entry         // of the store, without secrets: most users are not due
	stored map[string]Entry // the same, by name
}

func (r *Rotator) read(ctx context.Context, o Options) (*once, error) {
	all, err := r.Store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the store: %w", err)
	}
	p := &once{Rotator: r, o: o, all: pointers(all), stored: make(map[string]Entry, len(all))}
	for _, e := range all {
		p.stored[e.Record.User] = e
	}
	return p, nil
}

func pointers(all []Entry) []*Entry {
	out := make([]*Entry, len(all))
	for i := range all {
		out[i] = &all[i]
	}
	return out
}

// underKnownNames returns the users under the names that keyrot manages them by:
// one that was renamed in IAM keeps the name it was enrolled with.
func (p *once) underKnownNames(users []User) []User {
	names := make(map[string]string, len(p.all))
	for _, e := range p.all {
		names[e.Record.UserID] = e.Record.User
	}
	seen := make(map[string]bool, len(users))
	out := users[:0:0]
	for _, u := range users {
		if name := names[u.ID]; u.ID != "" && name != "" {
			u.Name = name
		}
		if !seen[u.Name] {
			seen[u.Name] = true
			out = append(out, u)
		}
	}
	return out
}

// unselected returns who is no longer selected, but still has steps under way to
// be finished.
func (p *once) unselected(users []User) []User {
	selected := map[string]bool{}
	for _, u := range users {
		selected[u.Name] = true
	}
	var others []User
	for name, e := range p.stored {
		if !selected[name] {
			others = append(others, User{Name: name, ID: e.Record.UserID, ARN: e.Record.ARN})
		}
	}
	slices.SortFunc(others, func(a, b User) int { return cmp.Compare(a.Name, b.Name) })
	return others
}

// inOrder returns the users in the order in which they are due, those for whom
// only a key is to be made last. Whom a pass has no time for is due since longer
// than the others when the next one begins. Who is new comes before those keys:
// enrolling asks IAM for no change, and from then on the user is in the order.
func (p *once) inOrder(users []User) []User {
	class := func(e Entry) int {
		switch {
		case e.Version == 0:
			return 1
		case e.Creates:
			return 2
		}
		return 0
	}
	return slices.SortedStableFunc(slices.Values(users), func(a, b User) int {
		x, y := p.stored[a.Name], p.stored[b.Name]
		return cmp.Or(cmp.Compare(class(x), class(y)), x.Due.Compare(y.Due))
	})
}

// visitAll returns the reports of the users that there was time for.
func (p *once) visitAll(ctx context.Context, users []User) []UserReport {
	users = failedLast(p.Rotator, p.inOrder(users), func(u User) string { return u.Name })
	reports := make([]UserReport, len(users))
	p.each(ctx, len(users), func(i int) {
		reports[i] = p.visit(ctx, users[i], p.stored[users[i].Name], p.all, p.o)
		if p.o.Progress != nil {
			p.o.Progress.Add(1)
		}
	})
	return slices.DeleteFunc(reports, func(u UserReport) bool { return u.User == "" })
}

// report says what was done of a pass over n users, and what was not. unread is
// why the selection could not be read. nil: it could.
func (p *once) report(ctx context.Context, reports []UserReport, n int, unread error) Report {
	slices.SortFunc(reports, func(a, b UserReport) int { return cmp.Compare(a.User, b.User) })
	rep := Report{Users: reports}
	if ctx.Err() == nil {
		return rep
	}
	done := len(slices.DeleteFunc(slices.Clone(reports), func(u UserReport) bool { return errors.Is(u.Err, ctx.Err()) }))
	rep.Missed = max(0, n-len(reports))
	switch {
	case done < n:
		rep.Stopped = fmt.Sprintf("its time was up after %d of %d users", done, n)
	case unread != nil:
		rep.Stopped = fmt.Sprintf("its time was up while the selection was read: %v", unread)
	}
	return rep
}
