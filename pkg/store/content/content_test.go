package content

import (
	"bytes"
	"errors"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/seal"
)

func sealer(t *testing.T) seal.Sealer {
	t.Helper()
	l, err := seal.NewLocal(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func entry(user string) rotate.Entry {
	return rotate.Entry{
		Record:  plan.Record{User: user, UserID: "AIDA" + user, ARN: "arn:aws:iam::1:user/" + user},
		Secrets: map[string]rotate.Secret{"AKIA1": rotate.NewSecret("secret of " + user)},
	}
}

func TestSecretsStayInTheirPlace(t *testing.T) {
	t.Parallel()
	s, ann := sealer(t), entry("ann")
	b, err := SealSecrets(t.Context(), s, ann)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenSecrets(t.Context(), s, ann.Record, b)
	if err != nil || got["AKIA1"].Reveal() != "secret of ann" {
		t.Errorf("OpenSecrets = %v, %v", got, err)
	}
	if _, err := OpenSecrets(t.Context(), s, entry("bob").Record, b); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("OpenSecrets for another user = %v, want %v", err, seal.ErrWrongKey)
	}
	moved := bytes.ReplaceAll(b, []byte("AKIA1"), []byte("AKIA2"))
	if _, err := OpenSecrets(t.Context(), s, ann.Record, moved); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("OpenSecrets for another key = %v, want %v", err, seal.ErrWrongKey)
	}
	if _, err := OpenSecrets(t.Context(), s, ann.Record, []byte("x")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("OpenSecrets of rubbish = %v, want %v", err, ErrCorrupt)
	}
}

func TestSettingsStayInTheirPlace(t *testing.T) {
	t.Parallel()
	s := sealer(t)
	b, err := SealSetting(t.Context(), s, "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := OpenSetting(t.Context(), s, "a", b); err != nil || v == nil || len(v) != 0 {
		t.Errorf("OpenSetting = %v, %v, want an empty value", v, err)
	}
	if _, err := OpenSetting(t.Context(), s, "b", b); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("OpenSetting under another name = %v, want %v", err, seal.ErrWrongKey)
	}
}

func TestWithoutKey(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, sealed := SealSecrets(ctx, nil, entry("ann"))
	_, opened := OpenSecrets(ctx, nil, plan.Record{}, nil)
	_, set := SealSetting(ctx, nil, "a", nil)
	_, got := OpenSetting(ctx, nil, "a", nil)
	for _, err := range []error{sealed, opened, set, got} {
		if !errors.Is(err, seal.ErrKeyMissing) {
			t.Errorf("without a key: %v, want %v", err, seal.ErrKeyMissing)
		}
	}
}

func TestDecodeRecord(t *testing.T) {
	t.Parallel()
	if r, err := DecodeRecord([]byte(`{"user":"ann"}`), "ann"); err != nil || r.User != "ann" {
		t.Errorf("DecodeRecord = %v, %v", r, err)
	}
	for _, b := range []string{
		``, `{`, `null`, `[]`, `{"user":"bob"}`, `{"user":"ann","keys":[null]}`, `{"user":"ann","keys":[{"id":"AKIA1"}]}`,
		`{"user":"ann","keys":[{"id":"AKIA1","stage":"Curr"}]}`, `{"user":"ann","keys":[{"stage":"Current"}]}`,
	} {
		if _, err := DecodeRecord([]byte(b), "ann"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("DecodeRecord(%q) = %v, want %v", b, err, ErrCorrupt)
		}
	}
}

func TestEncryptionContext(t *testing.T) {
	t.Parallel()
	ann := entry("ann").Record
	unnamed := ann
	unnamed.ARN = ""
	for _, c := range []struct {
		name string
		aad  []byte
		want map[string]string
	}{
		{"a user's secret", secretAAD(ann, "AKIA1"), map[string]string{"keyrot:user": ann.ARN}},
		{"a user without ARN", secretAAD(unnamed, "AKIA1"), map[string]string{"keyrot:user": "ann"}},
		{"a setting", settingAAD("apikey/1"), map[string]string{"keyrot:settings": "true"}},
		{"nonsense", []byte("%zz"), map[string]string{"keyrot:settings": "true"}},
	} {
		if got := EncryptionContext(c.aad); !maps.Equal(got, c.want) {
			t.Errorf("%s: EncryptionContext = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestNanos(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 18, 0, 0, 123456789, time.UTC)
	for _, want := range []time.Time{{}, now} {
		if got := Time(Nanos(want)); !got.Equal(want) {
			t.Errorf("Time(Nanos(%v)) = %v", want, got)
		}
	}
	if n := Nanos(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)); n != math.MaxInt64 {
		t.Errorf("Nanos of the year 9999 = %d", n)
	}
	if n := Nanos(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)); n != 0 {
		t.Errorf("Nanos of the year 1900 = %d", n)
	}
}

func TestRecent(t *testing.T) {
	t.Parallel()
	var r Recent
	now := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	r.Note("ci", "ann", "K2", "a", now)
	r.Note("ci", "ann", "K1", "a", now.Add(-time.Second)) // late news
	for _, c := range []struct {
		key, addr string
		at        time.Duration
		want      bool
	}{
		{"K2", "a", 0, true},
		{"K2", "a", RepeatAfter - 1, true},
		{"K2", "a", RepeatAfter, false},
		{"K2", "a", -1, false},
		{"K1", "a", 0, false},
		{"K2", "b", 0, false},
	} {
		if got := r.Repeats("ci", "ann", c.key, c.addr, now.Add(c.at)); got != c.want {
			t.Errorf("Repeats(%s, %s, %s) = %t", c.key, c.addr, c.at, got)
		}
	}
	for i := range recentMax + 1 {
		r.Note("ci", string(rune('a'+i)), "K", "", now)
	}
	if r.last.Len() > recentMax {
		t.Errorf("%d hand-outs are remembered, want at most %d", r.last.Len(), recentMax)
	}
}
