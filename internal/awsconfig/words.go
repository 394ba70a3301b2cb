package awsconfig

import (
	"errors"
	"strings"
)

var errOpen = errors.New("a quote or an escape has no end")

// Words splits a text as botocore splits the headers of sections and the
// commands of credential_process: at white space, by the quotes of a shell
// (Python's shlex).
func Words(text string) (words []string, err error) {
	var word strings.Builder
	in, quote := false, rune(0) // in a word, in that quote
	rs := []rune(text)
	for i := 0; i < len(rs); i++ {
		r := rs[i]
		switch {
		case r == quote && quote != 0:
			quote = 0
		case r == '\\' && quote != '\'':
			if i++; i == len(rs) {
				return nil, errOpen
			}
			if quote == '"' && rs[i] != '"' && rs[i] != '\\' {
				word.WriteRune(r)
			}
			word.WriteRune(rs[i])
			in = true
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, in = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if in {
				words, in = append(words, word.String()), false
				word.Reset()
			}
		default:
			word.WriteRune(r)
			in = true
		}
	}
	if quote != 0 {
		return nil, errOpen
	}
	if in {
		words = append(words, word.String())
	}
	return words, nil
}
