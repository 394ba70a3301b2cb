package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// minSuffix is how much of the end of a key id must be given at least.
const minSuffix = 2

// means reports whether text stands for the key: its whole id, the shortened one
// that keyrot prints (AKIA…F2), or its end.
func means(text, id string) bool {
	for _, dots := range []string{"…", "..."} {
		if begin, end, short := strings.Cut(text, dots); short {
			return len(end) >= minSuffix && len(begin)+len(end) <= len(id) && strings.HasPrefix(id, begin) && strings.HasSuffix(id, end)
		}
	}
	return text == id || len(text) >= minSuffix && strings.HasSuffix(id, text)
}

// wholeKey returns the id that text stands for; text itself if no id matches,
// and an error if it could be several.
func wholeKey(text string, ids []string) (string, error) {
	like := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(ids))), func(id string) bool { return !means(text, id) })
	switch {
	case text == "", len(like) == 0, slices.Contains(like, text):
		return text, nil
	case len(like) > 1:
		return "", usage(fmt.Errorf("key %q could be any of %s", text, strings.Join(like, ", ")), "give more of its end, or the whole id")
	}
	return like[0], nil
}

func keysOf(e rotate.Entry) (ids []string) {
	for _, k := range e.Record.Keys {
		ids = append(ids, k.ID)
	}
	return ids
}

// known returns the ids of all keys that the store or the audit log tells of.
func (e Env) known(ctx context.Context, cfg config.Config, st store) (ids []string, err error) {
	entries, err := st.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		ids = append(ids, keysOf(entry)...)
	}
	lines, log, err := openLines(ctx, cfg, nil)
	if err != nil {
		return ids, hint.Wrap(err, "without the audit log nobody knows about keys that are deleted; name it with --audit-log")
	}
	defer func() { _ = log.Close() }() // only read
	for l, err := range lines {
		if err != nil {
			return ids, fmt.Errorf("reading the audit log: %w", err)
		}
		switch l.Action { // of keyrot's own keys; others are noticed
		case "create", "import", "adopt", "promote", "handout":
			if l.Key != "" {
				ids = append(ids, l.Key)
			}
		}
	}
	return ids, nil
}

// errNotOurs is that nothing is on record about a key: no all-clear.
func errNotOurs(text string, ids []string) error {
	err := fmt.Errorf("%q is not a key that this store or its audit log knows; who has it, keyrot cannot say", text)
	advice := "check the id, and that this is the right store"
	cut := slices.IndexFunc(ids, func(id string) bool { return strings.HasPrefix(id, text) })
	if cut >= 0 {
		advice = "did you mean " + ids[cut] + "?"
	}
	return usage(err, advice)
}
