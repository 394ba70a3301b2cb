package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// TestSecretsAreFound holds the search against the plain one: in texts of a few
// letters, words, marks and pieces of secrets nothing is missed or made up.
func TestSecretsAreFound(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var known secrets
	words := []string{" ", "-", "a", "Z", "0", strings.Repeat("x", part-1), strings.Repeat("y", part), "é"}
	for i := range 4 {
		secret := fmt.Sprintf("secret%dof%032d", i, i)
		known.add(rotate.NewSecret(secret))
		words = append(words, secret, secret[:part], secret[:part-1], secret[1:part+1])
	}
	found := 0
	for range 50000 {
		var b strings.Builder
		for range r.IntN(8) {
			b.WriteString(words[r.IntN(len(words))])
		}
		want := false
		for head := range known.head {
			want = want || strings.Contains(b.String(), head)
		}
		if want {
			found++
		}
		if got := known.in([]byte(b.String())); got != want {
			t.Fatalf("in(%q) = %t, want %t", b.String(), got, want)
		}
	}
	if found < 1000 {
		t.Errorf("only %d texts had a secret", found)
	}
}

// TestTheLogIsLookedThrough hides a secret in every place that a record has.
func TestTheLogIsLookedThrough(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("S3cret", 8)
	type nested struct{ Pair []string }
	for name, write := range map[string]func(*slog.Logger){
		"message":   func(l *slog.Logger) { l.Info("made " + text) }, //nolint:sloglint // the point
		"text":      func(l *slog.Logger) { l.Debug("made", "pair", "AKIA:"+text) },
		"error":     func(l *slog.Logger) { l.Warn("made", "err", fmt.Errorf("saving: %w", errors.New(text))) },
		"bytes":     func(l *slog.Logger) { l.Warn("made", "key", []byte(text)) },
		"structure": func(l *slog.Logger) { l.Warn("made", "key", &nested{[]string{"", text}}) },
		"group":     func(l *slog.Logger) { l.Warn("made", slog.Group("a", slog.Group("b", "c", text))) },
		"with":      func(l *slog.Logger) { l.With("key", text).WithGroup("a").Info("made") },
		"key":       func(l *slog.Logger) { l.Info("made", text, 1) },
		"nothing":   func(l *slog.Logger) { l.Info("made", "key", rotate.NewSecret(text), "n", 1) },
	} {
		var written strings.Builder
		s := &simulation{}
		s.secrets.add(rotate.NewSecret(text))
		write(slog.New(s.confidant(slog.LevelDebug, &written)))
		want := 1
		if name == "nothing" {
			want = 0
		}
		if got := len(s.result.Violations); got != want {
			t.Errorf("%s: %d violations, want %d: %q", name, got, want, s.result.Violations)
		}
		if !strings.Contains(written.String(), "msg=") {
			t.Errorf("%s: the log was not written: %q", name, written.String())
		}
	}
}
