package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/keyrot/keyrot/internal/printable"
)

func notConfirmed() error {
	return usage(errors.New("not confirmed, nothing was changed"), "answer yes, or give --yes")
}

// agreed asks on the terminal. Only "yes" is yes, and anything else an error.
func (e Env) agreed(ctx context.Context, question string) error {
	answer, err := e.ask(ctx, question+" Type yes: ")
	if err == nil && answer != "yes" {
		err = notConfirmed()
	}
	return err
}

// confirmed asks on the terminal. Only "yes" is yes.
func (e Env) confirmed(ctx context.Context, question string) (bool, error) {
	answer, err := e.ask(ctx, question+" Type yes: ")
	return answer == "yes", err
}

// ask returns the line that was typed; "" if nobody answers. It reads no more
// than that line, so that the next question has its own. It ends with ctx, with
// its error.
func (e Env) ask(ctx context.Context, question string) (string, error) {
	if e.In == nil || ctx.Err() != nil {
		return "", ctx.Err()
	}
	_, _ = fmt.Fprintf(e.Err, "keyrot: %s", question)
	return e.answer(ctx, func() (string, bool) { return lineOf(e.In) })
}

// answer waits for what read returns: a line, and whether it ended a line of the
// terminal. A read of a terminal cannot be interrupted: it ends with the process.
func (e Env) answer(ctx context.Context, read func() (line string, whole bool)) (string, error) {
	type answer struct {
		line  string
		whole bool
	}
	got := make(chan answer, 1)
	go func() {
		line, whole := read()
		got <- answer{line, whole}
	}()
	select {
	case <-ctx.Done():
		_, _ = fmt.Fprintln(e.Err)
		return "", ctx.Err()
	case a := <-got:
		if !a.whole {
			_, _ = fmt.Fprintln(e.Err)
		}
		return strings.TrimSpace(a.line), nil
	}
}

// lineOf reads a line and no more.
func lineOf(in io.Reader) (line string, whole bool) {
	var all []byte
	for b := make([]byte, 1); ; {
		n, err := in.Read(b)
		if n > 0 && b[0] == '\n' {
			return string(all), true
		}
		all = append(all, b[:n]...)
		if err != nil {
			return string(all), false
		}
	}
}

// askSecret returns a line of standard input. On a terminal it asks, and what is
// typed or pasted is not shown.
func (e Env) askSecret(ctx context.Context, what string) (string, error) {
	if e.In == nil {
		return "", nil
	}
	f, ok := e.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return e.answer(ctx, func() (string, bool) { line, _ := lineOf(e.In); return line, true })
	}
	in := int(f.Fd())
	before, err := term.GetState(in)
	if err != nil {
		return "", fmt.Errorf("preparing the terminal: %w", err)
	}
	defer func() { _ = term.Restore(in, before) }() // a signal ends the answer before ReadPassword does so
	_, _ = fmt.Fprintf(e.Err, "keyrot: %s (it is not shown): ", what)
	return e.answer(ctx, func() (string, bool) {
		secret, err := term.ReadPassword(in)
		return string(secret), err != nil && len(secret) > 0
	})
}

// terminalOf returns the terminal that is written to, if it is one.
func terminalOf(w io.Writer) (*os.File, bool) {
	if p, ok := w.(printable.Writer); ok {
		w = p.Writer
	}
	f, ok := w.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}
