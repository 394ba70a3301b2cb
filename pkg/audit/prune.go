package audit

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// ActionPrune is the action of the line that proves the beginning of a log: it
// says which lines are not in it any more, and where they were exported to. It is
// recorded before they are cut off.
const ActionPrune = "audit_prune"

var pruneMark = []byte(`"action":"` + ActionPrune + `"`)

// ErrPruning: another process prunes the log.
var ErrPruning = errors.New("another process is pruning the audit log")

// Segment is a part of a log that was exported. The zero value is no line.
type Segment struct {
	From   Tail   `json:"-"`      // the line before its first one
	To     Tail   `json:"last"`   // its last line
	Path   string `json:"path"`   // of the export: gzip, the lines as they are in the log
	SHA256 string `json:"sha256"` // of the export
	Lines  int    `json:"lines"`  // how many
	size   int64  // bytes of the lines
}

// Reason is what the line of [ActionPrune] says.
func (s Segment) Reason() string {
	return fmt.Sprintf(segmentFormat, s.From.Seq+1, s.To.Seq, filepath.Base(s.Path), s.SHA256, s.To.Hash)
}

const segmentFormat = "numbers %d to %d exported to %s with SHA-256 %s up to hash %s"

// parseSegment reads a reason. It knows no directory of the export.
func parseSegment(reason string) (s Segment, err error) {
	if _, err := fmt.Sscanf(reason, segmentFormat, &s.From.Seq, &s.To.Seq, &s.Path, &s.SHA256, &s.To.Hash); err != nil {
		return Segment{}, fmt.Errorf("reading what was pruned: %w", err)
	}
	s.From.Seq--
	return s, nil
}

// Before chooses the lines that were recorded before t.
func Before(t time.Time) func(Line) bool {
	return func(l Line) bool { return l.Time.Before(t) }
}

// Export writes the lines of r up to the first one that is not old to a file
// in dir, reads it back and checks the chain in it. Nothing is written if there
// are none. name begins the file's name.
func Export(r io.Reader, dir, name string, old func(Line) bool) (s Segment, err error) {
	temp, err := os.CreateTemp(dir, ".keyrot-*") // of mode 0600
	if err != nil {
		return Segment{}, fmt.Errorf("exporting the audit log: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }() // gone already unless something fails
	s, err = compress(temp, r, old)
	if err == nil {
		err = temp.Sync()
	}
	err = errors.Join(err, temp.Close())
	if err == nil && s.Lines > 0 {
		s.SHA256, err = readBack(temp.Name(), s)
	}
	if err != nil || s.Lines == 0 {
		return Segment{}, err
	}
	s.Path = filepath.Join(dir, fmt.Sprintf("%s-%012d-%012d.jsonl.gz", name, s.From.Seq+1, s.To.Seq))
	if err := errors.Join(os.Rename(temp.Name(), s.Path), disk.SyncDir(dir)); err != nil {
		return Segment{}, fmt.Errorf("exporting the audit log: %w", err)
	}
	return s, nil
}

// compress writes the old lines at the beginning of r to w.
func compress(w io.Writer, r io.Reader, old func(Line) bool) (s Segment, err error) {
	z := gzip.NewWriter(w)
	var c check
	in := scanner(r)
	for in.Scan() {
		b := in.Bytes()
		l, err := ParseLine(b)
		if err == nil && !old(l) {
			break
		}
		if c.n++; err == nil {
			err = c.line(b)
		}
		if err != nil {
			return Segment{}, fmt.Errorf("line %d: %w", c.n, err)
		}
		if _, err := z.Write(append(b, '\n')); err != nil { // in place of the newline that Scan has cut off
			return Segment{}, fmt.Errorf("exporting the audit log: %w", err)
		}
		s.size += int64(len(b)) + 1
	}
	s.From, s.To, s.Lines = c.begin, c.end(), c.n
	if err := ended(in, c.n); err != nil {
		return Segment{}, err
	}
	return s, z.Close()
}

// readBack checks that a file holds the segment and returns its hash.
func readBack(path string, s Segment) (sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the export: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	z, err := gzip.NewReader(io.TeeReader(f, h))
	if err != nil {
		return "", fmt.Errorf("reading the export: %w", err)
	}
	if end, err := VerifyBetween(z, s.From, s.To); err != nil || end != s.To {
		return "", fmt.Errorf("reading the export: it ends with number %d, want %d: %w", end.Seq, s.To.Seq, cmp.Or(err, ErrBroken))
	}
	if _, err := io.Copy(h, f); err != nil { // what the decompressor did not need
		return "", fmt.Errorf("reading the export: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Prune exports the lines that were recorded before t to a file in dir and cuts
// them off the log; the zero Segment says that there were none. It first proves
// the whole log: [ErrBroken] if that fails, and nothing is cut. A line says what
// was cut, so that the rest still is proven. A crash leaves a log that is proven
// and, at worst, an export that the next Prune makes again. [ErrPruning].
//
// Other processes may append meanwhile; they wait only while what was appended
// since the beginning of the cut is copied.
func (l *Log) Prune(ctx context.Context, before time.Time, dir, actor string) (s Segment, err error) {
	only := flock.New(l.o.Path+".prune", flock.SetFlag(os.O_RDWR|os.O_CREATE), flock.SetPermissions(0o600))
	if free, err := only.TryLock(); err != nil || !free {
		return Segment{}, errors.Join(err, ErrPruning)
	}
	defer func() { err = errors.Join(err, only.Unlock()) }()
	if _, err := VerifyFile(ctx, l.o.Path, l.o.Settings); err != nil {
		return Segment{}, hint.Wrap(fmt.Errorf("nothing is pruned: %w", err), `see "keyrot audit verify"`)
	}
	f, err := os.Open(l.o.Path)
	if err != nil {
		return Segment{}, fmt.Errorf("reading the audit log: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	if s, err = Export(until{ctx, f}, dir, "audit", Before(before)); err != nil || s.Lines == 0 {
		return Segment{}, err
	}
	err = l.Append(ctx, rotate.Event{Time: l.o.Now(), Action: ActionPrune, Reason: s.Reason(), Actor: actor})
	if err == nil {
		err = l.settle(ctx) // the anchors name a later line than any that is cut
	}
	if err == nil {
		err = l.cut(ctx, f, s.size)
	}
	if err != nil {
		return Segment{}, fmt.Errorf("pruning the audit log: %w", err)
	}
	return s, nil
}

// cut puts a file in the log's place that has what old has from the offset on.
func (l *Log) cut(ctx context.Context, old *os.File, offset int64) error {
	path, err := filepath.EvalSymlinks(l.o.Path)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".keyrot-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // gone already unless something fails
	if _, err = old.Seek(offset, io.SeekStart); err == nil {
		_, err = io.Copy(temp, old) // most of it, while others append
	}
	if err == nil {
		err = temp.Sync()
	}
	if err == nil {
		select {
		case l.turn <- struct{}{}:
			err = l.locked(ctx, func() error { return l.replace(temp, old, path) })
			<-l.turn
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return errors.Join(err, temp.Close())
}

// replace copies the rest of old to temp and gives that the log's name. The turn
// and the file lock are held.
func (l *Log) replace(temp, old *os.File, path string) error {
	if l.ill.err != nil {
		return l.ill.err
	}
	was, err := old.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(was, there) {
		return errors.Join(err, fmt.Errorf("%s was moved away meanwhile", path))
	}
	if _, err = io.Copy(temp, old); err == nil {
		err = disk.Fit(temp, disk.Like(was))
	}
	if err == nil {
		err = temp.Sync()
	}
	if err == nil {
		err = l.o.rename(temp.Name(), path)
	}
	if err == nil {
		err = disk.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	repairs, err := l.refresh() // opens the new file
	if err != nil {
		return err
	}
	l.synced, l.held = mark{l.size, l.tail}, nil
	if len(repairs) > 0 {
		return l.write(nil, repairs)
	}
	return nil
}

// Oldest returns when the first line of the log at path was recorded; zero if
// there is none.
func Oldest(path string) (time.Time, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the audit log: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxLine+1))
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the audit log: %w", err)
	}
	line, _, whole := bytes.Cut(b, []byte("\n"))
	if !whole {
		return time.Time{}, nil
	}
	first, err := ParseLine(line)
	return first.Time, err
}
