package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	driver "modernc.org/sqlite"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// Sentinels for what is wrong with the store's file. In all these cases
// nothing was overwritten.
var (
	ErrNewer    = errors.New("store was written by a newer keyrot")
	ErrCorrupt  = content.ErrCorrupt
	ErrReadOnly = errors.New("store cannot be written")
	ErrLocked   = errors.New("store is locked by another process")
	ErrFull     = errors.New("disk is full")
)

var advice = map[error]string{
	ErrNewer:    "upgrade keyrot, or point it at another store",
	ErrCorrupt:  "keep the file and its -wal, restore a backup, then run \"keyrot recover\": docs/restore.md",
	ErrReadOnly: "check the owner and mode of the store's file and directory, and that the file system is mounted read-write",
	ErrLocked:   "find the process that holds the store open and let it finish",
	ErrFull:     "free space on the store's file system",
}

// SQLite's primary result codes (https://www.sqlite.org/rescode.html).
const (
	codePerm      = 3
	codeBusy      = 5
	codeLocked    = 6
	codeReadOnly  = 8
	codeInterrupt = 9
	codeCorrupt   = 11
	codeFull      = 13
	codeCantOpen  = 14
	codeNotADB    = 26

	codeShmSize = 4874 // extended: the -shm file cannot grow
)

// explain wraps an error of the driver or the file system in the sentinel
// that it stands for, with advice.
func explain(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	err = cutShort(ctx, err)
	var s *driver.Error
	var sentinel error
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()): // says why
	case errors.As(err, &s):
		sentinel = meaning(s.Code())
	case errors.Is(err, ErrCorrupt):
		return hint.Wrap(fmt.Errorf("%s: %w", doing, err), advice[ErrCorrupt])
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		sentinel = ErrReadOnly
	case errors.Is(err, syscall.ENOSPC):
		sentinel = ErrFull
	}
	if sentinel == nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return refuse(sentinel, "%s: %w (%w)", doing, sentinel, err)
}

// cutShort returns err, or ctx's error if err only says that the transaction ended
// with ctx: database/sql rolls it back then, and Commit returns sql.ErrTxDone.
func cutShort(ctx context.Context, err error) error {
	var s *driver.Error
	over := errors.Is(err, sql.ErrTxDone) || errors.As(err, &s) && s.Code()&0xff == codeInterrupt
	if over && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// meaning returns the sentinel that a result code stands for, or nil.
func meaning(code int) error {
	if code == codeShmSize {
		return ErrFull // SQLite does not say so: it is an input/output error to it
	}
	switch code & 0xff {
	case codeBusy, codeLocked:
		return ErrLocked
	case codeReadOnly, codePerm, codeCantOpen:
		return ErrReadOnly
	case codeCorrupt, codeNotADB:
		return ErrCorrupt
	case codeFull:
		return ErrFull
	}
	return nil
}

// refuse formats an error and adds the sentinel's advice.
func refuse(sentinel error, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if text := advice[sentinel]; text != "" {
		return hint.Wrap(err, text)
	}
	return err
}
