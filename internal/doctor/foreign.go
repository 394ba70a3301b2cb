package doctor

import (
	"context"
	"slices"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

const (
	foreignFix = `if the store was restored, run "keyrot recover"; otherwise import it ("keyrot users import"), set ` +
		`existing_keys: retire, or delete it when nothing uses it any more`
	storelessFix = `name the store with --store, --table or --stack; if there is none yet, "keyrot users import" or existing_keys: ` +
		`retire takes the key on`
	lateFix       = `find out who made it: existing_keys: retire is for keys from before keyrot; delete it when nothing uses it`
	fullFix       = `existing_keys: retire needs a free slot: delete one of the user's keys, or import it ("keyrot users import")`
	unreadableFix = `do nothing about it until all entries of the store can be read: keyrot may hold it`
)

// keys looks for keys that keyrot did not create.
func (p Patient) keys(ctx context.Context, users []rotate.User, add adder) {
	fix, text := foreignFix, "user %s has key %s (%s, created %s), which keyrot does not hold"
	if p.Entries == nil {
		p.Entries = func(context.Context) ([]rotate.Entry, error) { return nil, nil }
		fix, text = storelessFix, "user %s has key %s (%s, created %s), and there is no store to tell whether keyrot holds it"
	}
	records, err := p.records(ctx)
	if err != nil {
		add("store", Fail, "", "it cannot be read: %v", err)
		return
	}
	for _, r := range records {
		if r.Waiting == plan.Unreadable {
			fix = unreadableFix
			add("store", Fail, "look at the store and its key; docs/restore.md", "the entry of %s cannot be read: %s", r.User, r.Error)
		}
	}
	foreign, retired := 0, 0
	for _, u := range users {
		keys, err := p.foreign(ctx, u.Name, records)
		if err != nil {
			add("foreign keys", Fail, "grant iam:ListAccessKeys on the users", "the keys of %s cannot be listed: %v", u.Name, err)
			return
		}
		fix := fix
		managed := slices.ContainsFunc(records, func(r plan.Record) bool { return r.User == u.Name })
		switch {
		case p.Existing != rotate.Retire:
		case managed:
			fix = lateFix
		case len(keys) < plan.Quota:
			retired += len(keys)
			continue
		default:
			fix = fullFix
		}
		for _, k := range keys {
			if foreign++; foreign <= 5 {
				add("foreign keys", Warn, fix, text, u.Name, rotate.ShortID(k.ID), k.Status, k.Created.Format(time.DateOnly))
			}
		}
	}
	if retired > 0 {
		add("foreign keys", OK, "", "keys from before keyrot stay until nobody uses them (existing_keys: retire): %d", retired)
	}
	if foreign == 0 && retired == 0 {
		add("foreign keys", OK, "", "none")
	} else if foreign > 5 {
		add("foreign keys", Warn, "", "and %d more", foreign-5)
	}
}

// records reads the records of all users.
func (p Patient) records(ctx context.Context) ([]plan.Record, error) {
	entries, err := p.Entries(ctx)
	if err != nil {
		return nil, err
	}
	records := make([]plan.Record, len(entries))
	for i, e := range entries {
		records[i] = e.Record
	}
	return records, nil
}

// foreign returns the user's keys that are not keyrot's. Rotation goes on
// meanwhile, and keyrot writes down what it is about to make before it makes it:
// so the records are read again after the keys, and what is gone since is not
// counted.
func (p Patient) foreign(ctx context.Context, user string, records []plan.Record) ([]plan.Key, error) {
	unknown, err := p.IAM.Keys(ctx, user)
	if unknown = p.unowned(unknown, user, records); err != nil || len(unknown) == 0 {
		return nil, err
	}
	if records, err = p.records(ctx); err != nil {
		return nil, err
	}
	if unknown = p.unowned(unknown, user, records); len(unknown) == 0 {
		return nil, nil
	}
	now, err := p.IAM.Keys(ctx, user)
	return slices.DeleteFunc(unknown, func(k plan.Key) bool {
		return !slices.ContainsFunc(now, func(n plan.Key) bool { return n.ID == k.ID })
	}), err
}

// unowned returns the keys that no record may own.
func (p Patient) unowned(keys []plan.Key, user string, records []plan.Record) []plan.Key {
	return slices.DeleteFunc(keys, func(k plan.Key) bool {
		return slices.ContainsFunc(records, func(r plan.Record) bool {
			// A key may be held under another name: users can be renamed.
			return r.Key(k.ID) != nil || r.User == user && (r.Waiting == plan.Unreadable || r.MayOwn(k, p.Policy(user)))
		})
	})
}
