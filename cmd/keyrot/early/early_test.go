package early

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestAConfigurationFileIsTheCommands(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	getenv := func(name string) string {
		if name == "HOME" {
			return home
		}
		return ""
	}
	if configured(getenv) {
		t.Error("configured = true without a file")
	}
	dir := filepath.Join(home, ".config", "keyrot")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keyrot.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !configured(getenv) {
		t.Error("configured = false with a file")
	}
}

func TestWhatIsNotPlainIsTheCommands(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{},
		{"--help"},
		{"--config", "x"},
		{"--user", "ci", "extra"},
		{"--user", "ci", "-o", "json"},
		{"--user", "ci", "--format", "xml"},
		{"--user", "ci", "--no-agent", "--no-cache"},
		{"--user", "ci", "--write-profile", "x"},
	} {
		if run(args) {
			t.Errorf("run(%q) = true, want it left to the command", args)
		}
	}
}

// TestWaitsForLittle: package early is initialised as soon as what it imports
// is. Each of these would make it wait for much that it does not use.
func TestWaitsForLittle(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "GOOS=linux")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		switch dep {
		case "path/filepath", "net", "net/netip", "net/url", "net/http", "crypto/tls", "crypto/x509", "vendor/golang.org/x/sys/cpu":
			t.Errorf("early depends on %s", dep)
		}
	}
}
