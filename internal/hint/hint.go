// Package hint carries advice for a person along with an error, apart from
// its text, so that a command can print it on a line of its own.
package hint

import "errors"

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }
func (h *hinted) Hint() string  { return h.hint }

// Wrap returns err with advice on what to do about it. A nil err stays nil.
func Wrap(err error, advice string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, advice}
}

// Of returns the outermost advice in err's chain, or "". An error may bring its
// own, by a method Hint.
func Of(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
