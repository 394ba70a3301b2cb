package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	named  = regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9]+)(?:/([^`]+))?`")
	listed = regexp.MustCompile(`Name: +"([a-z-]+)", +Rule: +"([a-z ]+)"`)
)

// TestDocumentedTestsExist: docs/testing.md maps situations to tests, by name.
func TestDocumentedTestsExist(t *testing.T) {
	t.Parallel()
	top := filepath.Join("..", "..")
	doc, err := os.ReadFile(filepath.Join(top, "docs", "testing.md"))
	if err != nil {
		t.Fatal(err)
	}
	code := testsByPackage(t, top)
	_, situations, _ := strings.Cut(string(doc), "## Situations from the field")
	rows := 0
	for line := range strings.Lines(situations) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| situation") {
			continue
		}
		rows++
		found := named.FindAllStringSubmatch(line, -1)
		if len(found) == 0 {
			t.Errorf("docs/testing.md names no test: %s", line)
		}
		for _, m := range found {
			row := strings.ReplaceAll(m[3], "_", " ")
			if !strings.Contains(code[m[1]], "func "+m[2]+"(") || !strings.Contains(code[m[1]], row) {
				t.Errorf("docs/testing.md: there is no %s.%s with a row %q", m[1], m[2], row)
			}
		}
	}
	if rows < 30 {
		t.Errorf("docs/testing.md has %d situations, want all of them", rows)
	}
}

// testsByPackage returns the text of each package's tests, by the last element
// of its path and by its path below pkg or internal.
func testsByPackage(t *testing.T, top string) map[string]string {
	t.Helper()
	code := map[string]string{}
	for _, pattern := range []string{"*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go", "*/*/*/*/*_test.go"} {
		files, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			dir, err := filepath.Rel(top, filepath.Dir(f))
			if err != nil {
				t.Fatal(err)
			}
			code[filepath.Base(dir)] += string(b)
		}
	}
	return code
}

// TestDocumentedMutantsExist: every mutant is in the table of its promise.
func TestDocumentedMutantsExist(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "testing.md"))
	if err != nil {
		t.Fatal(err)
	}
	var list []byte
	for _, name := range []string{"list.go", "recover.go"} {
		part, err := os.ReadFile(filepath.Join("..", "..", "test", "mutants", name))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, part...)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(doc)) {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			rows[strings.TrimSpace(cells[1])] = cells[2] + ","
		}
	}
	for _, m := range listed.FindAllStringSubmatch(string(list), -1) {
		if !strings.Contains(rows[m[2]], " "+m[1]+",") && !strings.Contains(rows[m[2]], " "+m[1]+" ,") {
			t.Errorf("docs/testing.md does not list the mutant %s of %q", m[1], m[2])
		}
	}
}
