//go:build unix

package trust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes folders (names that end in /), links (NAME -> TARGET) and files in
// a folder that only this user can get at from above.
func tree(t *testing.T, names ...string) (top string) {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(filepath.Dir(top), 0o755)) // otherwise nobody could reach what is in it
	must(os.Chmod(top, 0o755))
	for _, n := range names {
		n, mode, _ := strings.Cut(n, " mode ")
		bits := map[string]fs.FileMode{"": 0o755, "0775": 0o775, "0777": 0o777, "1777": 0o777 | fs.ModeSticky, "0700": 0o700, "0664": 0o664, "0646": 0o646}[mode]
		name, target, link := strings.Cut(n, " -> ")
		name = filepath.Join(top, name)
		switch {
		case link:
			must(os.Symlink(strings.ReplaceAll(target, "TOP", top), name))
			continue
		case strings.HasSuffix(n, "/"):
			must(os.Mkdir(name, 0o700))
		default:
			must(os.WriteFile(name, []byte("x"), 0o600))
		}
		must(os.Chmod(name, bits))
	}
	return top
}

func TestPath(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		tree  []string
		path  string
		wrong []string // what others can change
	}{
		{"a file of ours", []string{"f"}, "f", nil},
		{"a file that the group can write", []string{"f mode 0664"}, "f", []string{"f has mode 0664"}},
		{"a file that everybody can write", []string{"f mode 0646"}, "f", []string{"f has mode 0646"}},
		{"a folder that the group can write", []string{"d/ mode 0775", "d/f"}, "d/f", []string{"d has mode 0775"}},
		{"a folder further up", []string{"d/ mode 0777", "d/e/", "d/e/f"}, "d/e/f", []string{"d has mode 0777"}},
		{"all that is wrong at once", []string{"d/ mode 0777", "d/f mode 0664"}, "d/f", []string{"d has mode 0777", "d/f has mode 0664"}},
		{"a sticky folder keeps others off our file", []string{"d/ mode 1777", "d/f"}, "d/f", nil},
		{"but not off one that they may write", []string{"d/ mode 1777", "d/f mode 0664"}, "d/f", []string{"d/f has mode 0664"}},
		{"what nobody else can get at", []string{"d/ mode 0700", "d/e/ mode 0777", "d/e/f mode 0646"}, "d/e/f", nil},
		{"a link leads out of there", []string{"d/ mode 0700", "d/l -> TOP/f", "f mode 0664"}, "d/l", []string{"f has mode 0664"}},
		{"a link of Kubernetes' kind", []string{"d/ mode 1777", "d/..2026/", "d/..2026/f", "d/..data -> ..2026", "d/f -> ..data/f"}, "d/f", nil},
		{"a link in a folder that others can write", []string{"d/ mode 0777", "d/l -> ../f", "f"}, "d/l", []string{"d has mode 0777"}},
		{"a link to such a folder", []string{"d/ mode 0777", "d/f", "l -> d"}, "l/f", []string{"d has mode 0777"}},
		{"dots that lead through such a folder", []string{"d/ mode 0777", "d/e/", "f"}, "d/e/../../f", []string{"d has mode 0777"}},
		{"a link whose target's folder is another's", []string{"d/ mode 0777", "d/e/", "l -> d/e/..", "d/f"}, "l/f", []string{"d has mode 0777"}},
	} {
		top := tree(t, tc.tree...)
		err := Path(top + "/" + tc.path) // not cleaned
		var e *Error
		switch {
		case tc.wrong == nil && err != nil:
			t.Errorf("%s: Path = %v, want nil", tc.name, err)
		case tc.wrong != nil && !errors.As(err, &e):
			t.Errorf("%s: Path = %v, want a refusal", tc.name, err)
		case tc.wrong != nil && strings.ReplaceAll(strings.Join(e.Why, "; "), top+"/", "") != strings.Join(tc.wrong, "; "):
			t.Errorf("%s: Path = %q, want %q", tc.name, e.Why, tc.wrong)
		}
	}
}

func TestPathOfSomebodyElse(t *testing.T) {
	t.Parallel()
	top := tree(t, "d/ mode 0700", "d/f", "l -> d/f")
	err := check(top+"/l", 0x7ffffff0)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("check = %v, want a refusal", err)
	}
	for _, want := range []string{top + "/l belongs to user", top + "/d belongs to user", top + "/d/f belongs to user"} {
		if !strings.Contains(e.Error(), want) {
			t.Errorf("check = %q, want it to hold %q", e, want)
		}
	}
	if strings.Contains(e.Hint(), "chown") || !strings.Contains(e.Hint(), "a copy in a folder") {
		t.Errorf("Hint = %q, want no advice to take somebody's folder away", e.Hint())
	}
	if _, fix := Judge("/d/f", Entry{Owner: 5, Mode: 0o600}, 0, 7); fix != "chown 7 /d/f" {
		t.Errorf("for a file the fix is %q, want who should own it", fix)
	}
}

func TestPathThatIsNone(t *testing.T) {
	t.Parallel()
	top := tree(t, "f", "a -> b", "b -> a", "out -> nothing")
	for path, want := range map[string]error{top + "/g": fs.ErrNotExist, top + "/out": fs.ErrNotExist, "/dev/null": nil, "": nil} {
		if err := Path(path); !errors.Is(err, want) {
			t.Errorf("Path(%q) = %v, want %v", path, err, want)
		}
	}
	for _, path := range []string{top + "/a", top + "/f/g"} {
		if err := Path(path); err == nil {
			t.Errorf("Path(%q) = nil, want an error", path)
		}
	}
}

func TestHintIsSafeToPaste(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/a/b-c_d.E9": "/a/b-c_d.E9", "/a b": "'/a b'", "/a;rm -rf ~": "'/a;rm -rf ~'", "/it's": `'/it'\''s'`} {
		if got := quote(path); got != want {
			t.Errorf("quote(%q) = %s, want %s", path, got, want)
		}
	}
}

// Kubernetes mounts a ConfigMap with mode 0777 and for reading only, and lets the
// group of an fsGroup write a volume.
func TestVolumes(t *testing.T) {
	top := tree(t, "d/ mode 0777", "d/f", "g/ mode 0775", "g/f mode 0664", "h/ mode 0777", "h/f")
	w := walk{owners: []int{0, os.Geteuid()}, readOnly: func(path string) bool { return path == top+"/d" }}
	if err := w.follow(top + "/d/f"); err != nil || len(w.why) > 0 {
		t.Errorf("on a mount for reading only: %v, %q", err, w.why)
	}
	if Path(top+"/g/f") == nil {
		t.Error("a group that nobody named is trusted")
	}
	t.Setenv(GroupVariable, number(os.Getegid(), 10))
	if err := Path(top + "/g/f"); err != nil {
		t.Errorf("with the group trusted: %v", err)
	}
	if Path(top+"/h/f") == nil {
		t.Error("a folder that everybody can write is trusted with a group")
	}
	for text, want := range map[string]int{"": -1, "x": -1, "12": 12, "-1": -1, "0": 0, "99999999999999999999": -1} {
		if got := digits(text); got != want {
			t.Errorf("digits(%q) = %d, want %d", text, got, want)
		}
	}
}
