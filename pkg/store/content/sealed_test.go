package content

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
)

func TestSealEach(t *testing.T) {
	t.Parallel()
	s, err := seal.NewLocal(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	kept := &Kept{}
	sealed := func(e rotate.Entry) []byte {
		t.Helper()
		b, err := SealEach(t.Context(), s, kept, e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenSecrets(t.Context(), s, e.Record, b)
		if err != nil || len(got) != len(e.Secrets) {
			t.Errorf("OpenSecrets = %v, %v", got, err)
		}
		for id, secret := range e.Secrets {
			if got[id].Reveal() != secret.Reveal() {
				t.Errorf("%s is another secret", id)
			}
		}
		return b
	}
	ann := entry("ann")
	ann.Secrets = map[string]rotate.Secret{"AKIA1": rotate.NewSecret("one"), "AKIA2": rotate.NewSecret("two")}
	first := sealed(ann)
	if !bytes.Equal(sealed(ann), first) {
		t.Error("secrets that did not change were sealed again")
	}
	changes := map[string]func(e *rotate.Entry){
		"a secret changed":     func(e *rotate.Entry) { e.Secrets["AKIA2"] = rotate.NewSecret("three") },
		"two were exchanged":   func(e *rotate.Entry) { e.Secrets["AKIA1"], e.Secrets["AKIA2"] = e.Secrets["AKIA2"], e.Secrets["AKIA1"] },
		"one is gone":          func(e *rotate.Entry) { delete(e.Secrets, "AKIA1") },
		"the ARN is another":   func(e *rotate.Entry) { e.Record.ARN += "x" },
		"the user is another":  func(e *rotate.Entry) { e.Record.UserID += "x" },
		"it moved to a new id": func(e *rotate.Entry) { e.Secrets["AKIA3"] = e.Secrets["AKIA1"]; delete(e.Secrets, "AKIA1") },
	}
	for name, change := range changes {
		other := ann
		other.Secrets = maps.Clone(ann.Secrets)
		change(&other)
		if bytes.Equal(sealed(other), first) {
			t.Errorf("%s: it was not sealed anew", name)
		}
		first = sealed(ann)
	}
	if _, err := SealEach(t.Context(), nil, &Kept{}, ann); !errors.Is(err, seal.ErrKeyMissing) {
		t.Errorf("SealEach without a key = %v, want %v", err, seal.ErrKeyMissing)
	}
}

func TestSealTogether(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := seal.NewLocal(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	ann := entry("ann")
	ann.Secrets = map[string]rotate.Secret{"AKIA1": rotate.NewSecret("one"), "AKIA2": rotate.NewSecret("two")}
	kept := &Kept{}
	sealed := func(e rotate.Entry) []byte {
		t.Helper()
		b, err := SealTogether(ctx, s, kept, e)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := sealed(ann)
	got, err := OpenTogether(ctx, s, nil, ann.Record, b)
	if err != nil || len(got) != 2 || got["AKIA1"].Reveal() != "one" || got["AKIA2"].Reveal() != "two" {
		t.Errorf("OpenTogether = %v, %v", got, err)
	}
	bob := ann
	bob.Record = entry("bob").Record
	if _, err := OpenTogether(ctx, s, nil, bob.Record, b); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("OpenTogether for another user = %v, want %v", err, seal.ErrWrongKey)
	}
	if !bytes.Equal(sealed(ann), b) {
		t.Error("secrets that did not change were sealed again")
	}
	stranger := ann // the same name and secrets
	stranger.Record.UserID += "X"
	changed := ann
	changed.Secrets = map[string]rotate.Secret{"AKIA1": rotate.NewSecret("two"), "AKIA2": rotate.NewSecret("one")}
	for name, e := range map[string]rotate.Entry{"another user": bob, "the next of the name": stranger, "changed secrets": changed} {
		if bytes.Equal(sealed(e), b) {
			t.Errorf("%s got the envelope of ann", name)
		}
	}
	if b := sealed(changed); !bytes.Equal(sealed(changed), b) {
		t.Error("the latest envelope was not kept")
	}
	fresh := &Kept{} // of a process that has only read
	if _, err := OpenTogether(ctx, s, fresh, ann.Record, b); err != nil {
		t.Fatal(err)
	}
	if got, err := SealTogether(ctx, s, fresh, ann); err != nil || !bytes.Equal(got, b) {
		t.Errorf("what was opened is sealed as %x, %v, want as it was", got, err)
	}
	if held, _ := fresh.last.Get("ann"); strings.Contains(fmt.Sprintf("%v %q", fresh, held.sealed), "one") {
		t.Error("a secret is kept")
	}
	rubbish, err := s.Seal(ctx, []byte("x"), togetherAAD(ann.Record))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTogether(ctx, s, nil, ann.Record, rubbish); !errors.Is(err, ErrCorrupt) {
		t.Errorf("OpenTogether of rubbish = %v, want %v", err, ErrCorrupt)
	}
	_, sealErr := SealTogether(ctx, nil, nil, ann)
	_, openErr := OpenTogether(ctx, nil, nil, ann.Record, nil)
	if !errors.Is(sealErr, seal.ErrKeyMissing) || !errors.Is(openErr, seal.ErrKeyMissing) {
		t.Errorf("without a key: %v, %v", sealErr, openErr)
	}
	for i := range 2 * keptMax {
		kept.note(fmt.Sprint(i), nil, nil, nil)
	}
	if kept.last.Len() > keptMax {
		t.Errorf("%d envelopes are kept, want at most %d", kept.last.Len(), keptMax)
	}
}
