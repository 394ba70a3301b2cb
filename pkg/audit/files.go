package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/keyrot/keyrot/internal/hint"
)

// Files is one log in several files: what was exported or moved away, and what is
// written to now. It is for one reading, by one goroutine.
type Files []*part

// part is one of the files.
type part struct {
	name  string
	first uint64 // the number of its first line; 0: it is none
	text  *bufio.Reader
	file  *os.File
}

// OpenFiles opens the log at path and others that hold lines of it, in whichever
// order they are given, compressed by gzip or not. Reading ends with ctx.
func OpenFiles(ctx context.Context, path string, others ...string) (fs Files, err error) {
	defer func() {
		if err != nil {
			_ = fs.Close() // the first error matters
		}
	}()
	for _, name := range append([]string{path}, others...) {
		p, err := openPart(ctx, name)
		if err != nil {
			return fs, err
		}
		fs = append(fs, p)
	}
	slices.SortStableFunc(fs, func(a, b *part) int { return cmp.Compare(a.first, b.first) })
	return fs, nil
}

func openPart(ctx context.Context, name string) (*part, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	p := &part{name: name, file: f, text: bufio.NewReader(until{ctx, f})}
	if magic, _ := p.text.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(p.text)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reading %s: %w", name, err), f.Close())
		}
		p.text = bufio.NewReader(z)
	}
	begin, _ := p.text.Peek(len(seqKey) + 20) // what cannot be read is reported by who reads it all
	if len(begin) > 0 && begin[0] != seqKey[0] {
		return nil, errors.Join(hint.Wrap(fmt.Errorf("%s does not begin with a line of an audit log: %w", name, ErrBroken),
			"of compressed files keyrot reads those of gzip; decompress others first"), f.Close())
	}
	_, _ = fmt.Sscanf(string(begin), seqKey+"%d,", &p.first)
	return p, nil
}

// Lines yields the lines of all files in order, each checked for itself. It ends
// with the first error, which names file and line.
func (fs Files) Lines() iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for _, p := range fs {
			for l, err := range Lines(p.text) {
				if err != nil {
					err = fmt.Errorf("%s: %w", p.name, err)
				}
				if !yield(l, err) || err != nil {
					return
				}
			}
		}
	}
}

// Names returns the files in the order of their lines.
func (fs Files) Names() (names []string) {
	for _, p := range fs {
		names = append(names, p.name)
	}
	return names
}

// Close implements io.Closer.
func (fs Files) Close() error {
	var errs []error
	for _, p := range fs {
		errs = append(errs, p.file.Close())
	}
	return errors.Join(errs...)
}

// rotated is what logrotate and others append to the name of a file that they
// move away: a number or a date, and the way that it is compressed.
var rotated = regexp.MustCompile(`^[.-][0-9][0-9T_-]*(\.gz)?$`)

// Rotated returns the files beside the log at path that log rotation has moved
// away, by their names.
func Rotated(path string) ([]string, error) {
	all, err := os.ReadDir(filepath.Dir(path))
	var names []string
	for _, f := range all {
		if end, ok := strings.CutPrefix(f.Name(), filepath.Base(path)); ok && rotated.MatchString(end) && f.Type().IsRegular() {
			names = append(names, filepath.Join(filepath.Dir(path), f.Name()))
		}
	}
	return names, err
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
