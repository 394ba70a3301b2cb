package sqlite

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// full returns an entry of the size that entries have in the middle of a
// rotation, with a target and a caller.
func full(user string) rotate.Entry {
	e := rotate.Entry{
		Record: plan.Record{
			User: user, UserID: "AIDAQ3EGRWDXAMPLE" + user, ARN: "arn:aws:iam::123456789012:user/keyrot/" + user,
			Enrolled: now, Slot: now, Served: now,
		},
		Secrets: map[string]rotate.Secret{}, Due: now.Add(time.Minute),
	}
	for i, stage := range []plan.Stage{plan.Previous, plan.Current} {
		id := fmt.Sprintf("AKIAIOSFODNN7XAMP%d%s", i, user)
		e.Record.Keys = append(e.Record.Keys, plan.Held{
			ID: id, Stage: stage, Slot: now, Created: now, Made: now, Promoted: now, Promise: now.Add(time.Hour), HeldBy: []string{"ci-deploy"},
		})
		e.Secrets[id] = rotate.NewSecret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	}
	e.Record.Gone = []plan.Tombstone{{ID: "AKIAIOSFODNN7GONE" + user, At: now}}
	e.Record.Targets = []plan.Target{{Name: "secretsmanager:prod/mailer", KeyID: e.Record.Keys[1].ID, Until: now, At: now}}
	return e
}

// fill saves n users several times in an order that says nothing.
func fill(t testing.TB, s *Store, n int) (content int) {
	t.Helper()
	known := make([]rotate.Entry, n)
	for i := range known {
		known[i] = full(fmt.Sprintf("user%05d", i))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		for _, i := range rnd.Perm(n) {
			known[i] = save(t, s, known[i])
		}
	}
	if err := s.read.QueryRowContext(t.Context(),
		`SELECT sum(length(user) + length(record) + length(secrets)) FROM entries`).Scan(&content); err != nil {
		t.Fatal(err)
	}
	return content
}

func TestEntriesShareTheirPages(t *testing.T) {
	t.Parallel()
	const users = 300
	path := filepath.Join(t.TempDir(), "keyrot.db")
	s := openAt(t, path)
	content := fill(t, s, users)
	if _, err := s.write.ExecContext(t.Context(), `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes of the file for each user, %d of them content", info.Size()/users, content/users)
	if float64(info.Size()) > 2*float64(content) {
		t.Errorf("the file has %d bytes for %d of content, want at most twice as much", info.Size(), content)
	}
}

// A store of the first schema is brought up to date with all that it holds.
func TestFirstSchemaIsMigrated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyrot.db")
	s := openAt(t, path)
	ann, bob := save(t, s, entry("ann")), save(t, s, entry("bob"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	execSQL(t, path, `
		CREATE TABLE was AS SELECT * FROM entries;
		DROP TABLE entries;
		CREATE TABLE entries (user TEXT PRIMARY KEY, version INTEGER NOT NULL, due INTEGER NOT NULL,
			record TEXT NOT NULL, secrets TEXT NOT NULL) STRICT, WITHOUT ROWID;
		CREATE INDEX entries_due ON entries (due, user);
		INSERT INTO entries SELECT user, version, due, record, secrets FROM was;
		DROP TABLE was;
		ALTER TABLE head DROP COLUMN removed;
		PRAGMA user_version = 1`)
	s = openAt(t, path)
	for _, want := range []rotate.Entry{ann, bob} {
		got, err := s.Load(t.Context(), want.Record.User)
		if err != nil || got.Version != want.Version || len(got.Secrets) != 2 || !got.Due.Equal(want.Due) {
			t.Errorf("Load(%q) = %+v, %v, want what was saved", want.Record.User, got, err)
		}
		save(t, s, got)
	}
	if due, err := s.Due(t.Context(), now, false, 10); err != nil || len(due) != 2 {
		t.Errorf("Due = %v, %v, want both", due, err)
	}
	if err := s.Remove(t.Context(), "ann", ann.Version+2); err != nil {
		t.Errorf("Remove = %v", err)
	}
}

func BenchmarkList(b *testing.B) {
	s := openNew(b)
	fill(b, s, 500)
	b.ReportAllocs()
	for b.Loop() {
		if l, err := s.List(b.Context()); err != nil || len(l) != 500 {
			b.Fatal(len(l), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/user")
}

func BenchmarkSaveFull(b *testing.B) {
	s := openNew(b)
	e := full("ann")
	b.ReportAllocs()
	for b.Loop() {
		e = save(b, s, e)
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	s := openNew(b)
	save(b, s, full("ann"))
	var record []byte
	if err := s.read.QueryRowContext(b.Context(), `SELECT record FROM entries`).Scan(&record); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := content.DecodeRecord(record, "ann"); err != nil {
			b.Fatal(err)
		}
	}
}
