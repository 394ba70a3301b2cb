package sqlite

import (
	"errors"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// TestMovedSecrets checks that rows cannot be swapped by whoever can write
// the file but does not have the key.
func TestMovedSecrets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  string
		want error
	}{
		"another user's secrets": {`UPDATE entries SET secrets = (SELECT secrets FROM entries WHERE user = 'bob') WHERE user = 'ann'`, seal.ErrWrongKey},
		"another user's row":     {`UPDATE entries SET record = b.record, secrets = b.secrets FROM (SELECT * FROM entries WHERE user = 'bob') b WHERE entries.user = 'ann'`, ErrCorrupt},
		"another key's secret":   {`UPDATE entries SET secrets = replace(secrets, 'AKIA1ann', 'AKIA3ann')`, seal.ErrWrongKey},
		"another user id":        {`UPDATE entries SET record = replace(record, 'AIDAann', 'AIDAeve')`, seal.ErrWrongKey},
		"a spoilt record":        {`UPDATE entries SET record = 'x'`, ErrCorrupt},
		"spoilt secrets":         {`UPDATE entries SET secrets = 'x'`, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openNew(t)
			save(t, s, entry("ann"))
			save(t, s, entry("bob"))
			if _, err := s.write.ExecContext(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}
			if e, err := s.Load(t.Context(), "ann"); !errors.Is(err, c.want) || e.Secrets != nil {
				t.Errorf("Load = %v, want %v", err, c.want)
			}
			if all, err := s.List(t.Context()); err != nil || len(all) != 2 || all[0].Record.User != "ann" || all[1].Record.User != "bob" {
				t.Errorf("List = %+v, %v, want both users", all, err)
			}
		})
	}
}

func TestMovedSetting(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	if _, err := s.SaveSetting(t.Context(), "a", []byte("value"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.ExecContext(t.Context(), `UPDATE settings SET name = 'b'`); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Setting(t.Context(), "b"); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("Setting = %v, want %v", err, seal.ErrWrongKey)
	}
}

func TestHandoutRepetitions(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	record := func(key, addr string, d time.Duration) {
		t.Helper()
		if err := s.RecordHandout(t.Context(), "ci", "ann", key, addr, now.Add(d)); err != nil {
			t.Fatal(err)
		}
	}
	last := func(key string) (time.Duration, string) {
		t.Helper()
		h, err := s.WhoHas(t.Context(), key)
		if err != nil || len(h) != 1 {
			t.Fatalf("WhoHas(%s) = %v, %v", key, h, err)
		}
		return h[0].Last.Sub(now), h[0].Addr
	}
	for _, c := range []struct {
		key, addr string
		at, want  time.Duration
	}{
		{"K1", "a", 0, 0},
		{"K1", "a", content.RepeatAfter/2 - 1, 0},
		{"K1", "b", content.RepeatAfter - 1, content.RepeatAfter - 1},
		{"K1", "b", 3 * content.RepeatAfter, 3 * content.RepeatAfter},
		{"K2", "b", 3*content.RepeatAfter + 1, 3*content.RepeatAfter + 1},
		{"K1", "b", 3*content.RepeatAfter + 2, 3*content.RepeatAfter + 2},
	} {
		record(c.key, c.addr, c.at)
		if got, addr := last(c.key); got != c.want || addr != c.addr {
			t.Errorf("after a hand-out of %s to %s at %s: last %s to %s, want %s", c.key, c.addr, c.at, got, addr, c.want)
		}
	}
	if n, err := s.PruneHandouts(t.Context(), now.Add(time.Hour)); err != nil || n != 1 {
		t.Errorf("PruneHandouts = %d, %v, want 1", n, err)
	}
	if got, err := s.Holders(t.Context(), "ann", "K1"); err != nil || len(got) != 1 {
		t.Errorf("Holders after pruning = %v, %v", got, err)
	}
}

func TestConflictIsNotExplainedAway(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	save(t, s, entry("ann"))
	_, err := s.Save(t.Context(), entry("ann"))
	if !errors.Is(err, rotate.ErrConflict) || hint.Of(err) != "" {
		t.Errorf("Save = %v, want a plain %v", err, rotate.ErrConflict)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping = %v", err)
	}
}

func BenchmarkLoad(b *testing.B) {
	s := openNew(b)
	save(b, s, entry("ann"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Load(b.Context(), "ann"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSave(b *testing.B) {
	s := openNew(b)
	e := entry("ann")
	for b.Loop() {
		e = save(b, s, e)
	}
}
