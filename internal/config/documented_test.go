package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/internal/config"
)

// TestDocumentedSettings reads every settings file that the documents show as
// keyrot does.
func TestDocumentedSettings(t *testing.T) {
	t.Parallel()
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, doc := range append(docs, "../../README.md") {
		raw, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(raw), "```yaml\n")
		for _, block := range blocks[1:] {
			text, _, _ := strings.Cut(block, "```")
			if strings.HasPrefix(text, "spec:") { // of Kubernetes
				continue
			}
			found++
			file := filepath.Join(t.TempDir(), "keyrot.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(config.Source{File: file, Getenv: func(string) string { return "" }})
			if err == nil {
				err = c.Validate()
			}
			if err != nil {
				t.Errorf("%s: these settings are refused: %v\n%s", filepath.Base(doc), err, text)
			}
		}
	}
	if found == 0 {
		t.Error("the documents show no settings")
	}
}
