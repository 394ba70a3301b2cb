package profile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/internal/getkey"
)

func TestWriteProfileKeepsModeAndLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "config")
	if err := os.WriteFile(real, []byte("[default]\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	if err := into(link, filepath.Join(dir, "none"), wanted{"ci", "ci", command}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v, want a link", info.Mode(), err)
	}
	if info, err = os.Stat(real); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file's mode is %v, %v, want 0640", info.Mode(), err)
	}
	fresh := filepath.Join(dir, "new", "config")
	if err := into(fresh, filepath.Join(dir, "none"), wanted{"ci", "ci", command}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(fresh); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new file is %v, %v, want mode 0600", info.Mode(), err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*", ".keyrot-*")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	for _, name := range []string{"", " a", "a\tb", "a]b", "a'b", "a\nb"} {
		if err := into(fresh, filepath.Join(dir, "none"), wanted{name, "ci", command}); !errors.Is(err, getkey.ErrUsage) {
			t.Errorf("into(%q) = %v, want getkey.ErrUsage", name, err)
		}
	}
	if err := replace(fresh, []byte("not this"), nil); err == nil {
		t.Error("replace of a file that has changed succeeded")
	}
}

// A file with several names, as in a folder of dotfiles, stays one file.
func TestWriteProfileIntoALinkedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, other := filepath.Join(dir, "config"), filepath.Join(dir, "dotfile")
	if err := os.WriteFile(config, []byte("[default]\nregion = eu-west-1\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(config, other); err != nil {
		t.Fatal(err)
	}
	if err := into(config, filepath.Join(dir, "none"), wanted{"ci", "ci", command}); err != nil {
		t.Fatal(err)
	}
	want := "[default]\nregion = eu-west-1\n\n[profile ci]\ncredential_process = " + command + "\n"
	if got, err := os.ReadFile(other); err != nil || string(got) != want {
		t.Errorf("by its other name it holds %q, %v, want %q", got, err, want)
	}
	if info, err := os.Stat(config); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v, %v, want 0640", info.Mode(), err)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		set, config, credentials string // "" for the files: refused
	}{
		{"", filepath.Join(home, ".aws", "config"), filepath.Join(home, ".aws", "credentials")},
		{"~/x", filepath.Join(home, "x"), filepath.Join(home, "x")},
		{"/x y", "/x y", "/x y"},
		{"~me/x", "", ""},
		{"$HOME/x", "", ""},
	} {
		getenv := func(string) string { return tt.set }
		config, err := ConfigFile(getenv)
		credentials, err2 := CredentialsFile(getenv)
		if config != tt.config || credentials != tt.credentials || (err != nil) != (tt.config == "") || (err2 != nil) != (tt.config == "") {
			t.Errorf("with %q: %q, %v and %q, %v, want %q and %q", tt.set, config, err, credentials, err2, tt.config, tt.credentials)
		}
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self := filepath.Join(dir, "keyrot")
	o := getkey.Options{User: "ci", Endpoint: "https://h:1", APIKeyFile: "/k", AllowPlainHTTP: true}
	got, err := Command(self, &o)
	if want := self + " get-key --user ci --endpoint https://h:1 --api-key-file /k --allow-plain-http --format credential-process"; err != nil || got != want {
		t.Errorf("Command = %q, %v, want %q", got, err, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "keyrot-get"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err = Command(self, &o); err != nil || !strings.HasPrefix(got, self+"-get --user ci ") {
		t.Errorf("with keyrot-get beside it: %q, %v", got, err)
	}
	if got, err = Command(self+"-get", &o); err != nil || !strings.HasPrefix(got, self+"-get --user ci ") {
		t.Errorf("of keyrot-get itself: %q, %v", got, err)
	}
	by := o
	by.APIKeyFile, by.Identity = "", getkey.ByAWS
	if got, err = Command(self, &by); !errors.Is(err, getkey.ErrUsage) {
		t.Errorf("by AWS, which would ask itself: %q, %v, want getkey.ErrUsage", got, err)
	}
	by.Identity, by.OIDCTokenFile = getkey.ByOIDC, "/var/run/token"
	if got, err = Command(self, &by); err != nil || !strings.HasPrefix(got, self+"-get ") || !strings.Contains(got, " --oidc-token-file /var/run/token --identity oidc ") {
		t.Errorf("by a token: %q, %v", got, err)
	}
	for _, endpoint := range []string{"https://me:hush@h", "https://hush@h", "http://a b:c@%"} {
		by = o
		by.Endpoint = endpoint
		if got, err = Command(self, &by); !errors.Is(err, getkey.ErrUsage) || strings.Contains(err.Error(), "hush") {
			t.Errorf("with a password in the endpoint: %q, %v, want a refusal without it", got, err)
		}
	}
	o.CAFile = "/with space/ca"
	if got, err = Command(self, &o); err != nil || !strings.Contains(got, ` --ca-file "/with space/ca" `) {
		t.Errorf("with a space: %q, %v", got, err)
	}
	for _, bad := range []string{"/a$b", "/a\"b", "/a\nb", "/a#b", "/a`b"} {
		o.CAFile = bad
		if got, err := Command(self, &o); !errors.Is(err, getkey.ErrUsage) {
			t.Errorf("with %q: %q, %v, want a refusal", bad, got, err)
		}
	}
}
