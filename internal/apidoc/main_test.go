package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/api"
)

func TestDocumentIsCurrent(t *testing.T) {
	t.Parallel()
	want, err := render(api.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/api.md is not current, run go generate ./pkg/api (-want +got):\n%s", diff)
	}
}

func TestRenderRefusesWhatIsNotYAML(t *testing.T) {
	t.Parallel()
	if _, err := render([]byte("\t{")); err == nil {
		t.Error("render(junk) = nil, want an error")
	}
}
