package deploy_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/deploy"
)

// What a stack leaves behind is known until the removal is at its end, however
// often a call fails on the way.
func TestNote(t *testing.T) {
	t.Parallel()
	want := deploy.Note{Kept: deploy.Kept{Table: "t", Key: "k"}, Parameters: map[string]string{"RotateEvery": "1h"}}
	write := func(f *fakeAWS) error { return f.deployer().WriteNote(t.Context(), "s", want) }
	whole := &fakeAWS{}
	if _, err := whole.deployer().ReadNote(t.Context(), "s"); !errors.Is(err, deploy.ErrNoNote) {
		t.Errorf("ReadNote before any = %v, want %v", err, deploy.ErrNoNote)
	}
	whole.calls = nil
	if err := write(whole); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= len(whole.calls); n++ {
		f := &fakeAWS{failAt: n}
		if err := write(f); !errors.Is(err, errInjected) {
			t.Errorf("call %d, %s, fails: %v", n, f.failed, err)
		}
		if err := write(f); err != nil {
			t.Errorf("after call %d, %s, failed: %v", n, f.failed, err)
		}
		got, err := f.deployer().ReadNote(t.Context(), "s")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("ReadNote = %v, (-want +got):\n%s", err, diff)
		}
	}
	// It goes last: while an artefact is there, so is the note.
	whole.objects["s/a.zip"], whole.objects["s/z.zip"] = true, true
	whole.calls = nil
	for n := 1; whole.bucket; n++ {
		whole.failAt = n
		_, err := whole.deployer().RemoveArtefacts(t.Context(), "s")
		if left := len(whole.objects); err != nil && left > 0 && !whole.objects["s/removal.json"] {
			t.Fatalf("call %d, %s, fails: %d artefacts are left, but no note", n, whole.failed, left)
		}
		whole.calls = nil
	}
	if err := whole.deployer().EraseNote(t.Context(), "s"); err != nil {
		t.Errorf("EraseNote of none = %v", err)
	}
}
