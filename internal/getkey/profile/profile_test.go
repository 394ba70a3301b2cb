package profile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/internal/getkey"
)

func TestWithProfile(t *testing.T) {
	t.Parallel()
	const set = "credential_process = cmd\n"
	for _, tc := range []struct{ name, before, want string }{
		{"an empty file", "", "[profile ci]\n" + set},
		{"other profiles and comments stay", "# mine\n[default]\nregion=x ; odd\n\n[profile  other]\n role_arn = r\n", "# mine\n[default]\nregion=x ; odd\n\n[profile  other]\n role_arn = r\n\n[profile ci]\n" + set},
		{"the last line may have no end", "[default]\nregion = x", "[default]\nregion = x\n\n[profile ci]\n" + set},
		{"a profile keeps its other settings", "[profile ci]\nregion = x\n# why\n\n[profile b]\n", "[profile ci]\n" + set + "region = x\n# why\n\n[profile b]\n"},
		{"an old command is replaced", "[profile ci] # mine\nregion = x\ncredential_process=old --x=y\noutput = json\n", "[profile ci] # mine\n" + set + "region = x\noutput = json\n"},
		{"another's command is not", "[profile ci2]\ncredential_process = old\n", "[profile ci2]\ncredential_process = old\n\n[profile ci]\n" + set},
		{"an sso-session of that name is another thing", "[sso-session ci]\nsso_start_url = u\n", "[sso-session ci]\nsso_start_url = u\n\n[profile ci]\n" + set},
		{"lines that end as on Windows go on so", "[default]\r\na = b\r\n", "[default]\r\na = b\r\n\r\n[profile ci]\r\ncredential_process = cmd\r\n"},
		{"a header at the end without a newline", "[profile ci]", "[profile ci]\n" + set},
		{"commented settings are no settings", "[profile ci]\n# role_arn = x\n", "[profile ci]\n" + set + "# role_arn = x\n"},
	} {
		got, err := withProfile([]byte(tc.before), "ci", "cmd")
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if diff := cmp.Diff(tc.want, string(got)); diff != "" {
			t.Errorf("%s: withProfile (-want +got):\n%s", tc.name, diff)
		}
		again, err := withProfile(got, "ci", "cmd")
		if err != nil || string(again) != string(got) {
			t.Errorf("%s: a second time changes it: %v\n%s", tc.name, err, again)
		}
	}
	for _, before := range []string{"[profile ci]\naws_access_key_id = A\n", "[profile ci]\nrole_arn=x\n", "[profile ci]\nSSO_session = s\n"} {
		if _, err := withProfile([]byte(before), "ci", "cmd"); !errors.Is(err, getkey.ErrUsage) {
			t.Errorf("withProfile(%q) = %v, want a refusal", before, err)
		}
	}
	if got, _ := withProfile(nil, "default", "cmd"); string(got) != "[default]\n"+set {
		t.Errorf("the default profile's header is %q", got)
	}
}

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
	if err := Into(link, "ci", "cmd"); err != nil {
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
	if err := Into(fresh, "ci", "cmd"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(fresh); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new file is %v, %v, want mode 0600", info.Mode(), err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*", ".keyrot-*")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	for _, name := range []string{"", "a b", "a]b", "a\nb"} {
		if err := Into(fresh, name, "cmd"); !errors.Is(err, getkey.ErrUsage) {
			t.Errorf("Into(%q) = %v, want getkey.ErrUsage", name, err)
		}
	}
	if err := replace(fresh, []byte("not this"), nil); err == nil {
		t.Error("replace of a file that has changed succeeded")
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self := filepath.Join(dir, "keyrot")
	o := getkey.Options{User: "ci", Endpoint: "https://h:1", APIKeyFile: "/k", AllowPlainHTTP: true}
	got, err := Command(self, &o)
	if want := self + " get-key --user ci --format credential-process --endpoint https://h:1 --api-key-file /k --allow-plain-http"; err != nil || got != want {
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
	if got, err = Command(self, &by); err != nil || !strings.HasPrefix(got, self+"-get ") || !strings.Contains(got, " --oidc-token-file /var/run/token --identity oidc") {
		t.Errorf("by a token: %q, %v", got, err)
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
