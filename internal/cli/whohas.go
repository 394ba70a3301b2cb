package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
)

func newWhoHasCmd(run func(context.Context, common, string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: "whohas ACCESS_KEY_ID", Short: "Show which API callers were given a key, and when",
		Long: `Show which API callers were given a key, and when. The shortened id that keyrot
prints (AKIA…F2), or the end of the id, will do if it is one key's only.

Exit code 4 means that nobody was given the key, 2 that keyrot does not know it:
then somebody may have it all the same.`,
		Example: "  keyrot whohas AKIAIOSFODNN7EXAMPLE", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := commonOf(cmd)
			if err != nil {
				return err
			}
			return run(cmd.Context(), c, args[0])
		},
	}
	storeFlags(cmd.Flags())
	setting(cmd.Flags(), "audit.path", "audit-log", "the log that knows the keys of the past (default: audit.jsonl beside the store)")
	return cmd
}

// holder is who was given a key, as it is listed.
type holder struct {
	rotate.Handout
	Name string `json:"caller_name,omitempty"` // of the API key
}

func (e Env) whoHas(ctx context.Context, c common, key string) (err error) {
	cfg, err := e.load(c)
	if err != nil {
		return err
	}
	st, err := openExisting(ctx, cfg, &rotate.Clock{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	all, err := st.WhoHas(ctx, key)
	if err == nil && len(all) == 0 {
		if key, err = e.ours(ctx, cfg, st, key); err == nil {
			all, err = st.WhoHas(ctx, key)
		}
	}
	if err != nil {
		return err
	}
	holders := e.named(ctx, cfg, all)
	if c.Output == "json" {
		if err := writeJSON(e.Out, holders); err != nil || len(all) > 0 {
			return err
		}
	}
	if len(all) == 0 {
		return &marked{fmt.Errorf("nobody was given key %s through this store", key), errNothing}
	}
	rows := [][]string{{"CALLER", "NAME", "USER", "FIRST", "LAST", "ADDRESS"}}
	for _, h := range holders {
		rows = append(rows, []string{
			h.Caller, dash(h.Name), h.User, h.First.Format(time.RFC3339), h.Last.Format(time.RFC3339), dash(h.Addr),
		})
	}
	return writeTable(e.Out, rows)
}

// ours returns the whole id of a key that keyrot knows; an error if it knows none
// that text stands for, because that nobody was given it would be an all-clear.
func (e Env) ours(ctx context.Context, cfg config.Config, st store, text string) (string, error) {
	ids, unread := e.known(ctx, cfg, st)
	key, err := wholeKey(text, ids)
	switch {
	case err != nil:
		return "", err
	case slices.Contains(ids, key):
		return key, nil
	case unread != nil:
		return "", usage(unread, "")
	}
	return "", errNotOurs(text, ids)
}

// named adds the names of the callers' API keys, as far as they can be read: other
// than hand-outs they are sealed. Callers without an API key are named already.
func (e Env) named(ctx context.Context, cfg config.Config, all []rotate.Handout) []holder {
	var keys []auth.Key
	if e.sealed(cfg) {
		if st, err := openStore(ctx, cfg, e.Getenv, &rotate.Clock{}); err == nil {
			keys, _ = (&auth.Keys{Settings: st}).List(ctx)
			_ = st.Close() // only read
		}
	}
	holders := make([]holder, len(all))
	for i, h := range all {
		holders[i] = holder{Handout: h}
		if at := slices.IndexFunc(keys, func(k auth.Key) bool { return k.ID == h.Caller }); at >= 0 {
			holders[i].Name = keys[at].Name
		}
	}
	return holders
}
