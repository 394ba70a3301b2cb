package entry

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func decodeEntry(raw []byte) (e Entry, err error) {
	err = e.Decode(raw)
	return e, err
}

func TestEntryRoundTrip(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	for _, tc := range []struct {
		name string
		e    Entry
	}{
		{"nothing", Entry{}},
		{"everything", Entry{
			Credential: Credential{AccessKeyID: "A", SecretAccessKey: "s\x00é", UserName: "ci", Expiration: at.Add(time.Hour), CreateDate: at},
			Tag:        `"x"`, Token: "t", TokenUntil: at, Fetched: at, Served: at.Add(time.Minute), Next: at.Add(-200 * 365 * 24 * time.Hour),
		}},
	} {
		raw := tc.e.Encode()
		got, err := decodeEntry(raw)
		if err != nil {
			t.Errorf("%s: decodeEntry: %v", tc.name, err)
		}
		if diff := cmp.Diff(tc.e, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		for n := range raw {
			if _, err := decodeEntry(raw[:n]); err == nil {
				t.Errorf("%s: the first %d bytes of %d pass for an entry", tc.name, n, len(raw))
			}
		}
		if _, err := decodeEntry(append(raw, 0)); err == nil {
			t.Errorf("%s: a byte too many passes", tc.name)
		}
	}
	if _, err := decodeEntry([]byte(`{"Credential":{}}`)); err == nil {
		t.Error("JSON, the form before, passes for an entry")
	}
}

func FuzzEntry(f *testing.F) {
	f.Add((&Entry{Tag: "x"}).Encode())
	f.Add([]byte{form, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := decodeEntry(raw)
		if err != nil {
			return
		}
		again, err := decodeEntry(e.Encode())
		if diff := cmp.Diff(e, again); err != nil || diff != "" {
			t.Errorf("decoding what was encoded: %v (-want +got):\n%s", err, diff)
		}
	})
}

// TestValidByTheServersClock: an Expiration is by the server's clock. A machine
// whose clock is behind hands nothing out after it, one whose clock is ahead
// asks too early, and one whose clock was put right since is not misled.
func TestValidByTheServersClock(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) // by the server's clock
	for _, tt := range []struct {
		name   string
		behind time.Duration // this machine's clock, when it was fetched
		passed time.Duration
		set    time.Duration // by how much the clock was set meanwhile
		valid  bool
	}{
		{"a right clock", 0, 11 * time.Minute, 0, true},
		{"a right clock, afterwards", 0, 12 * time.Minute, 0, false},
		{"ten minutes behind", 10 * time.Minute, 11 * time.Minute, 0, true},
		{"ten minutes behind, afterwards", 10 * time.Minute, 12 * time.Minute, 0, false},
		{"a day behind, afterwards", 24 * time.Hour, 12 * time.Minute, 0, false},
		{"a minute ahead", -time.Minute, 10 * time.Minute, 0, true},
		{"ten minutes ahead asks early", -10 * time.Minute, 2 * time.Minute, 0, false},
		{"ten minutes ahead, put right", -10 * time.Minute, 12 * time.Minute, -10 * time.Minute, false},
		{"ten minutes behind, put right, asks early", 10 * time.Minute, 2 * time.Minute, 10 * time.Minute, false},
		{"set back by more than has passed", 0, time.Minute, -10 * time.Minute, false},
	} {
		e := Entry{Credential: Credential{AccessKeyID: "AKIA1", Expiration: at.Add(12 * time.Minute)}, Served: at, Fetched: at.Add(-tt.behind)}
		now := e.Fetched.Add(tt.passed + tt.set)
		if got := e.Valid(now); got != tt.valid {
			t.Errorf("%s: Valid() = %t after %s of 12 minutes", tt.name, got, tt.passed)
		}
	}
}
