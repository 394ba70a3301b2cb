package auth_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
)

const chosen = "abcdefghijklmnopqrstuvwxyz0123456789ABCD"

func TestAdopt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	settings := newSettings()
	now := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	process := func() *auth.Keys {
		return &auth.Keys{Settings: settings, Adopted: "stack", Now: func() time.Time { return now }}
	}
	want := auth.Key{Name: "stack", Users: []string{"*"}, Role: auth.Reader}
	var wg sync.WaitGroup
	for range 8 { // cold starts side by side
		wg.Go(func() {
			if err := process().Adopt(ctx, chosen, want); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	k, err := process().Check(ctx, chosen)
	if err != nil || k.ID != "stack" || !k.MayRead("ann") {
		t.Errorf("Check = %+v, %v", k, err)
	}
	for _, bad := range []string{"", "x", chosen + "x", strings.ToUpper(chosen)} {
		if _, err := process().Check(ctx, bad); !errors.Is(err, auth.ErrBadKey) {
			t.Errorf("Check(%q) = %v, want %v", bad, err, auth.ErrBadKey)
		}
	}
	if _, err := (&auth.Keys{Settings: settings}).Check(ctx, chosen); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("Check where none is adopted = %v, want %v", err, auth.ErrBadKey)
	}
	own, _, err := process().Create(ctx, auth.Key{Users: []string{"ann"}, Role: auth.Reader})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := process().Check(ctx, own); err != nil {
		t.Errorf("Check of one of our own = %v", err)
	}

	const next = "ZYXWVUTSRQPONMLKJIHGFEDCBA9876543210dcba"
	if err := process().Adopt(ctx, next, want); err != nil {
		t.Fatal(err)
	}
	if _, err := process().Check(ctx, chosen); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("Check of the replaced key = %v, want %v", err, auth.ErrBadKey)
	}
	if err := process().Revoke(ctx, "stack"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{next, chosen} {
		s := process()
		if err := s.Adopt(ctx, key, want); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Check(ctx, key); !errors.Is(err, auth.ErrBadKey) {
			t.Errorf("Check after revocation and another start = %v, want %v", err, auth.ErrBadKey)
		}
	}
}

func TestAdoptRefuses(t *testing.T) {
	t.Parallel()
	settings := newSettings()
	want := auth.Key{Users: []string{"*"}, Role: auth.Reader}
	own, _, err := (&auth.Keys{Settings: settings}).Create(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id, key string
		want    auth.Key
	}{
		"no record":        {"", chosen, want},
		"a short key":      {"stack", "hunter2", want},
		"one of ours":      {"stack", own, want},
		"nobody's":         {"stack", chosen, auth.Key{Role: auth.Reader}},
		"an expired order": {"stack", chosen, auth.Key{Users: []string{"*"}, Role: auth.Reader, Expires: time.Unix(1, 0)}},
	} {
		s := &auth.Keys{Settings: settings, Adopted: c.id}
		if err := s.Adopt(t.Context(), c.key, c.want); err == nil || strings.Contains(err.Error(), c.key) {
			t.Errorf("%s: Adopt = %v, want an error that does not tell the key", name, err)
		}
	}
}
