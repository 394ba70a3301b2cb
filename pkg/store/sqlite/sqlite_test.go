package sqlite

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/seal"
)

var now = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func testKey(t testing.TB, b byte) seal.Source {
	t.Helper()
	l, err := seal.NewLocal(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return seal.Fixed(l)
}

func openAt(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: path, Key: testKey(t, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func openNew(t testing.TB) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "keyrot.db"))
}

func entry(user string) rotate.Entry {
	return rotate.Entry{
		Record: plan.Record{
			User: user, UserID: "AIDA" + user, ARN: "arn:aws:iam::1:user/" + user, Enrolled: now,
			Keys: []plan.Held{
				{ID: "AKIA1" + user, Stage: plan.Previous, Slot: now, Created: now, Made: now},
				{ID: "AKIA2" + user, Stage: plan.Current, Slot: now, Created: now, Made: now},
			},
		},
		Secrets: map[string]rotate.Secret{
			"AKIA1" + user: rotate.NewSecret("first secret of " + user),
			"AKIA2" + user: rotate.NewSecret("second secret of " + user),
		},
		Due: now,
	}
}

func save(t testing.TB, s *Store, e rotate.Entry) rotate.Entry {
	t.Helper()
	v, err := s.Save(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	e.Version = v
	return e
}

func TestConformance(t *testing.T) {
	t.Parallel()
	rotatetest.TestStore(t, func(t *testing.T) rotate.Store { return openNew(t) })
	rotatetest.TestSettings(t, func(t *testing.T) rotate.Settings { return openNew(t) })
	rotatetest.TestHandouts(t, func(t *testing.T) rotate.Handouts { return openNew(t) })
}
