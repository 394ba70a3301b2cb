package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

// chain is one of the audit log's chains in a table.
func (t tableStore) chain(name string) *dynamodb.Audit {
	return &dynamodb.Audit{API: t.API, Table: t.Table, Sealer: t.Sealer, Chain: name}
}

// verifyChains checks every chain that the table holds.
func (e Env) verifyChains(ctx context.Context, o auditOptions, t tableStore) error {
	names, err := t.Chains(ctx)
	if err != nil {
		return err
	}
	ends := map[string]audit.Tail{}
	for _, name := range names {
		end, err := t.chain(name).Verify(ctx)
		if err != nil {
			return fmt.Errorf("audit log %q in table %s: %w", name, t.Table, err)
		}
		ends[name] = end
		if o.Output != "json" {
			if _, err := fmt.Fprintf(e.Out, "%s/%s: %d records, the chain holds\n", t.Table, name, end.Seq); err != nil {
				return err
			}
		}
	}
	if o.Output == "json" {
		return writeJSON(e.Out, ends)
	}
	if len(names) == 0 {
		_, _ = fmt.Fprintln(e.Err, "keyrot: nothing is on record yet")
	}
	return nil
}

// exportChains returns the lines of all chains, one chain after the other. They
// are read as they are asked for.
func exportChains(ctx context.Context, t tableStore) (io.ReadCloser, error) {
	names, err := t.Chains(ctx)
	if err != nil {
		return nil, err
	}
	all := make(chained, 0, len(names))
	for _, name := range names {
		all = append(all, t.chain(name).Lines(ctx))
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(all.readers()...), all}, nil
}

type chained []io.ReadCloser

func (c chained) readers() (out []io.Reader) {
	for _, r := range c {
		out = append(out, r)
	}
	return out
}

// Close implements io.Closer.
func (c chained) Close() error {
	var errs []error
	for _, r := range c {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}
