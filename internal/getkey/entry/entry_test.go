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
			Tag:        `"x"`, Token: "t", TokenUntil: at, Fetched: at, Next: at.Add(-200 * 365 * 24 * time.Hour),
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
