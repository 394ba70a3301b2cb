package cli

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestATargetThatReadersHoldOnTo: a file target with readers that would not see a
// file that takes its place is refused by every command that would make the user's
// first key. A second name stands for a container in which the file is mounted by
// itself, as in e2e.TestFileMountedByItself.
func TestATargetThatReadersHoldOnTo(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // its rename keeps nobody from reading on
	}
	dir := t.TempDir()
	path, other := filepath.Join(dir, "ci.env"), filepath.Join(dir, "other")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	target := "settle: 0s\npublish:\n  - {type: file, format: env, path: '" + dir + "/${USER}.env'"
	s := newShell(t, target+"}", "ci")
	for _, command := range [][]string{{"users", "enroll"}, {"rotate-once"}, {"serve", "--listen", "127.0.0.1:0"}, {"doctor"}} {
		code, out, errs := s.Run(command...)
		if code == 0 || !strings.Contains(out+errs, path+" has 2 names") || !strings.Contains(out+errs, "in_place: true") {
			t.Errorf("%v = %d, want a refusal that names in_place\n%s%s", command, code, out, errs)
		}
	}
	if keys := s.AWS.Working("ci"); len(keys) > 0 {
		t.Errorf("the keys %v were made", keys)
	}

	s = newShell(t, target+", in_place: true}", "ci")
	if code, out, errs := s.Run("rotate-once"); code != 0 {
		t.Fatalf("rotate-once in place = %d\n%s%s", code, out, errs)
	}
	keys := s.AWS.Working("ci")
	if got := read(t, other); len(keys) != 1 || !strings.Contains(got, keys[0]) {
		t.Fatalf("a reader of the other name sees %q, want key %v", got, keys)
	}

	// Who has keys does not keep others waiting: the target fails for that user.
	in := strings.Replace(read(t, s.File), ", in_place: true", "", 1)
	if err := os.WriteFile(s.File, []byte(in), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := s.Run("rotate-once"); code != 0 || !strings.Contains(errs, "would not reach its readers") {
		t.Errorf("rotate-once of who has a key = %d, want a warning\n%s%s", code, out, errs)
	}

	// Neither whom keyrot does not rotate nor an optional target keeps others waiting.
	for _, more := range []string{", users: [web]}", ", optional: true}"} {
		s = newShell(t, target+more, "ci")
		if code, out, errs := s.Run("rotate-once"); code != 0 || strings.Contains(errs, "publish[0].path") {
			t.Errorf("with %q: rotate-once = %d\n%s%s", more, code, out, errs)
		}
	}
	s = newShell(t, target+"}", "web")
	if code, out, errs := s.Run("rotate-once"); code != 0 {
		t.Errorf("with a file of somebody else: rotate-once = %d\n%s%s", code, out, errs)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
