package printable_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/keyrot/keyrot/internal/printable"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                    "",
		"ci+mailer@x":         "ci+mailer@x",
		"Zoë, 日本語 – ok…":      "Zoë, 日本語 – ok…",
		"red \x1b[31m\a":      `red \u001b[31m\u0007`,
		"two\nlines\r\tand":   `two\u000alines\u000d\u0009and`,
		"user\u202egnp.exe":   `user\u202egnp.exe`,
		"\u2066hidden\u2069":  `\u2066hidden\u2069`,
		"zero\u200bwidth":     `zero\u200bwidth`,
		"C1 \u009b31m, \x7f":  `C1 \u009b31m, \u007f`,
		"tag \U000e0041":      `tag \udb40\udc41`,
		"\x9b31m not text":    "\ufffd31m not text",
		"\x9b31m nor is \x1b": "\ufffd31m nor is \\u001b",
	} {
		if got := printable.Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestWriterKeepsJSON: what a program reads is what was meant.
func TestWriterKeepsJSON(t *testing.T) {
	t.Parallel()
	want := map[string]string{"user\u202e": "a\nb\x7f\U000e0041\x1b[2J"}
	var b bytes.Buffer
	if err := json.NewEncoder(printable.Writer{Writer: &b}).Encode(want); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.String() {
		if r != '\n' && (r < ' ' || r > '~') {
			t.Errorf("the output holds %q: %s", r, b.String())
		}
	}
	var got map[string]string
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got["user\u202e"] != want["user\u202e"] {
		t.Errorf("read back %q (%v), want %q", got, err, want)
	}
}
