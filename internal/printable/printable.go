// Package printable makes text fit to be shown to people. Names and messages
// that others chose may hold what a terminal or a browser acts upon instead of
// showing it: escape sequences, other control characters, characters that
// reverse or hide text. They are written as \uXXXX, which in JSON stands for
// the same character.
package printable

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Line returns s with everything that is not printable written out, line
// breaks included.
func Line(s string) string { return escape(s, func(rune) bool { return false }) }

// Text returns s as [Line] does, but leaves line feeds and tabs alone.
func Text(s string) string { return escape(s, func(r rune) bool { return r == '\n' || r == '\t' }) }

func escape(s string, leave func(rune) bool) string {
	s = strings.ToValidUTF8(s, "\ufffd") // a byte of its own may be a control character of another encoding
	bad := func(r rune) bool { return !unicode.IsPrint(r) && !leave(r) }
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if !bad(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// Writer passes on what is written to it as [Text] has it. A character must
// not be split between two writes.
type Writer struct{ io.Writer }

// Write implements io.Writer.
func (w Writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
