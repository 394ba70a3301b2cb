package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/getkey/fetch"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
	"github.com/keyrot/keyrot/pkg/store/sqlite"
)

// The errors that have an exit code of their own.
var (
	errUsage   = errors.New("bad input")
	errSome    = errors.New("some users failed")
	errNothing = errors.New("nothing to do")
)

// badInput are the errors of other packages that mean that what keyrot was
// given must change before it can work.
var badInput = []error{
	errUsage, rotate.ErrNoUsers, rotate.ErrNotSelected, rotate.ErrNoUser, rotate.ErrForeignKey, rotate.ErrManagedAs, rotate.ErrNameTaken,
	sqlite.ErrNewer, sqlite.ErrCorrupt, sqlite.ErrReadOnly, sqlite.ErrLocked, sqlite.ErrFull,
	dynamodb.ErrNoTable, dynamodb.ErrAccess,
	seal.ErrWrongKey, seal.ErrKeyMissing, disk.ErrExposed,
	rotate.ErrNotManaged, rotate.ErrNotHeld,
}

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	var child childError
	var order *standing
	var short *cut
	var by interruption
	switch {
	case err == nil:
		return 0
	case errors.As(err, &short):
		return short.by.code()
	case errors.As(err, &by):
		return by.code()
	case errors.As(err, &order):
		return 1
	case errors.As(err, &child):
		return int(child)
	case errors.Is(err, errSome):
		return 3
	case errors.Is(err, errNothing), errors.Is(err, rotate.ErrNothingToRollBack):
		return 4
	}
	for _, bad := range badInput {
		if errors.Is(err, bad) {
			return 2
		}
	}
	if fetch.BadInput(err) {
		return 2
	}
	return 1
}

// marked is an error that also is a sentinel, which its text does not repeat.
type marked struct {
	error
	as error
}

func (m *marked) Unwrap() []error { return []error{m.error, m.as} }

// usage marks err as bad input, with a hint if there is none yet. nil stays.
func usage(err error, advice string) error {
	if err == nil {
		return nil
	}
	if advice != "" && hint.Of(err) == "" {
		err = hint.Wrap(err, advice)
	}
	return &marked{err, errUsage}
}

func usagef(format string, args ...any) error {
	return usage(fmt.Errorf(format, args...), "")
}

// advice are hints for errors that do not bring their own.
var advice = []struct {
	err  error
	hint string
}{
	{rotate.ErrNoUsers, "set users.names, users.path_prefix or users.tag, or ask for --all-users"},
	{rotate.ErrNotSelected, "add the user to the selection (users.* in keyrot.yaml), or check its spelling"},
	{rotate.ErrForeignKey, `find out who uses them: "keyrot users import" takes one over with its secret, existing_keys: retire ` +
		`replaces one once it is idle`},
	{rotate.ErrManagedAs, `nothing has to be done in IAM; "keyrot status" shows the user under the name it was enrolled with, and ` +
		`callers keep using that`},
	{rotate.ErrNameTaken, `"keyrot users release" lets the renamed user go; then the name is free`},
	{rotate.ErrNoUser, "check the name and the AWS account; if the user was renamed in IAM, put its new name into users.names"},
	{rotate.ErrNotManaged, `"keyrot status" lists the managed users; "keyrot users enroll" takes others on`},
	{rotate.ErrNotHeld, `"keyrot status" shows the keys; give the whole access key id`},
	{rotate.ErrNothingToRollBack, "a previous key exists from a rotation until it is deleted (delete_after)"},
	{rotate.ErrDenied, "grant keyrot's own identity the IAM actions that the README lists"},
}

func hintFor(err error) string {
	if h := hint.Of(err); h != "" {
		return h
	}
	for _, a := range advice {
		if errors.Is(err, a.err) {
			return a.hint
		}
	}
	return fetch.Hint(err)
}

// report tells a person what went wrong: each problem on a line, then a hint.
func report(w io.Writer, err error) {
	var child childError
	if err == nil || errors.As(err, &child) { // the child has said what there was to say
		return
	}
	if short, ok := errors.AsType[*cut](err); ok {
		_, _ = fmt.Fprintf(w, "keyrot: %v\n", short)
		return
	}
	if errors.Is(err, context.Canceled) && strings.HasSuffix(err.Error(), context.Canceled.Error()) {
		_, _ = fmt.Fprintln(w, "keyrot: interrupted")
		return
	}
	var missing *noCredentials
	if errors.As(err, &missing) { // which explains all else that there is to say
		err = hint.Wrap(missing, hintFor(err))
	}
	all := problems(err)
	for i, problem := range all {
		for line := range strings.Lines(problem.Error()) {
			_, _ = fmt.Fprintf(w, "keyrot: error: %s\n", strings.TrimSuffix(line, "\n"))
		}
		h := hintFor(problem)
		if again := i+1 < len(all) && hintFor(all[i+1]) == h; h != "" && !again {
			_, _ = fmt.Fprintf(w, "keyrot: hint: %s\n", h)
		}
	}
}

// problems are the errors that err joins, each of which has its own hint.
func problems(err error) (all []error) {
	if m, ok := err.(*marked); ok { //nolint:errorlint // what else wraps a join speaks for all of it
		return problems(m.error)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	text := ""
	for _, e := range joined.Unwrap() {
		all = append(all, problems(e)...)
		text += "\n" + e.Error()
	}
	if text != "\n"+err.Error() {
		return []error{err}
	}
	return all
}
