package audit

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// OpenLines opens the log at path, after exports of what came before it, in that
// order. Reading ends with ctx.
func OpenLines(ctx context.Context, path string, exports ...string) (io.ReadCloser, error) {
	var all files
	var readers []io.Reader
	for i, name := range append(exports[:len(exports):len(exports)], path) {
		f, err := os.Open(name)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all = append(all, f)
		var r io.Reader = f
		if i < len(exports) {
			if r, err = gzip.NewReader(f); err != nil {
				return nil, errors.Join(fmt.Errorf("reading the export %s: %w", name, err), all.Close())
			}
		}
		readers = append(readers, r)
	}
	return struct {
		io.Reader
		io.Closer
	}{until{ctx, io.MultiReader(readers...)}, all}, nil
}

type files []*os.File

// Close implements io.Closer.
func (fs files) Close() error {
	var errs []error
	for _, f := range fs {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// until reads from a reader until its context ends.
type until struct {
	ctx context.Context //nolint:containedctx // of this one reading
	io.Reader
}

// Read implements io.Reader.
func (u until) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(b)
}
