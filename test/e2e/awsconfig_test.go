//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/internal/awsconfig"
)

type configSections = map[string]map[string]string

// configRead is what read.py says of a folder.
type configRead struct {
	Boto, CLI               *struct{ Raw, Profiles configSections }
	Key, Process, List, Env string
}

// TestAWSConfigFiles writes a profile into each configuration file of the corpus
// of internal/getkey/profile with the built command. Then botocore and the AWS
// CLI read every other value as before, and use the command where keyrot says
// so; where it refuses, the file is as it was, and clients do what it warned of.
func TestAWSConfigFiles(t *testing.T) {
	t.Parallel()
	bin, err := BuildKeyrot(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const answer = "#!/bin/sh\n[ \"$1 $2\" = '--user ci' ] && " +
		"echo '{\"Version\":1,\"AccessKeyId\":\"AKIAKEYROT\",\"SecretAccessKey\":\"x\"}'\n"
	if err := os.WriteFile(filepath.Join(bin, "keyrot-get"), []byte(answer), 0o700); err != nil {
		t.Fatal(err)
	}
	before, after := t.TempDir(), t.TempDir()
	corpus := filepath.Join("..", "..", "internal", "getkey", "profile", "testdata", "corpus")
	for _, dir := range []string{before, after} {
		if err := os.CopyFS(dir, os.DirFS(corpus)); err != nil {
			t.Fatal(err)
		}
	}
	names, err := os.ReadDir(corpus)
	if err != nil {
		t.Fatal(err)
	}
	shadowed := []string{}
	for _, entry := range names {
		name := entry.Name()
		in := filepath.Join(after, name)
		profile, said, err := writeProfile(t, bin, in, filepath.Join(in, "credentials"))
		_, golden := os.Stat(filepath.Join(in, "refused"))
		if (err != nil) != (golden == nil) {
			t.Errorf("%s: %v, want as in the corpus\n%s", name, err, said)
		}
		if err == nil {
			continue
		}
		if was, is := fileIn(t, before, name, "config"), fileIn(t, after, name, "config"); !bytes.Equal(was, is) {
			t.Errorf("%s was refused and changed:\n%s", name, is)
		}
		if strings.Contains(said, "which wins") { // without the credentials file it is written
			shadowed = append(shadowed, name)
			if _, said, err := writeProfile(t, bin, in, os.DevNull); err != nil {
				t.Errorf("%s: profile %q without the credentials file: %v\n%s", name, profile, err, said)
			}
		}
	}
	was, is := readConfigs(t, before), readConfigs(t, after)
	for name, now := range is {
		golden, err := os.ReadFile(filepath.Join(corpus, name, "refused"))
		switch {
		case err == nil && strings.Contains(string(golden), "the AWS CLI cannot read config") && (now.Boto != nil || now.CLI != nil):
			t.Errorf("%s: botocore or the AWS CLI can read it", name)
		case err != nil:
			checkWritten(t, name, was[name], now, strings.TrimSpace(string(fileIn(t, after, name, "profile"))))
		}
	}
	for _, name := range shadowed {
		if strings.HasPrefix(is[name].Key, "AKIAKEYROT") {
			t.Errorf("%s: a client uses keyrot's key, which keyrot denied", name)
		}
	}
	if len(names) < 40 || len(shadowed) < 5 {
		t.Errorf("%d files, %d shadowed, want more", len(names), len(shadowed))
	}
}

// writeProfile runs the command on the folder's config. A folder without a file
// profile is about profile ci.
func writeProfile(t *testing.T, bin, dir, credentials string) (profile, said string, err error) {
	t.Helper()
	named := filepath.Join(dir, "profile")
	raw, err := os.ReadFile(named)
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = []byte("ci\n"), os.WriteFile(named, []byte("ci\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	profile = strings.TrimSpace(string(raw))
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "keyrot"), "get-key", "--user", "ci", "--write-profile", profile)
	cmd.Env = append(os.Environ(), "AWS_CONFIG_FILE="+filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE="+credentials,
		"XDG_CONFIG_HOME="+dir, "KEYROT_API_KEY=x")
	out, err := cmd.CombinedOutput()
	return profile, string(out), err
}

// fileIn returns what a file of the folder holds, nil if it is missing.
func fileIn(t *testing.T, top, name, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(top, name, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return raw
}

// checkWritten compares what clients read before and after.
func checkWritten(t *testing.T, name string, was, is configRead, profile string) {
	t.Helper()
	if was.Boto == nil || is.Boto == nil || was.CLI == nil || is.CLI == nil {
		t.Errorf("%s: botocore or the AWS CLI cannot read it", name)
		return
	}
	if !strings.Contains(is.Process, "/keyrot-get --user ci ") ||
		is.Key != "AKIAKEYROT custom-process" || !strings.Contains(is.List, "custom-process") {
		t.Errorf("%s: the AWS CLI reads credential_process = %q, botocore uses %q, the AWS CLI lists\n%s", name, is.Process, is.Key, is.List)
	}
	if is.Env != "AKIAENVIRONMENT env" {
		t.Errorf("%s: with keys in the environment botocore uses %q", name, is.Env)
	}
	for client, pair := range map[string][2]configSections{
		"botocore": {was.Boto.Profiles, is.Boto.Profiles}, "the AWS CLI": {was.CLI.Profiles, is.CLI.Profiles},
	} {
		for _, all := range pair {
			delete(all[profile], "credential_process")
			if len(pair[0][profile]) == 0 { // a new section has the settings of [DEFAULT]
				delete(all, profile)
			}
		}
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s: the profiles of %s (-before +after):\n%s", name, client, diff)
		}
	}
	for section, settings := range was.Boto.Raw {
		delete(settings, "credential_process")
		for option, value := range settings {
			if got := is.Boto.Raw[section][option]; got != value {
				t.Errorf("%s: [%s] %s is %q, was %q", name, section, option, got, value)
			}
		}
	}
}

// TestAWSConfigReader holds keyrot's reader of AWS configuration files against
// botocore's, on the corpus and on files made of what its grammar is about.
func TestAWSConfigReader(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	corpus := filepath.Join("..", "..", "internal", "getkey", "profile", "testdata", "corpus")
	if err := os.CopyFS(top, os.DirFS(corpus)); err != nil {
		t.Fatal(err)
	}
	for i := range 600 {
		dir := filepath.Join(top, fmt.Sprint("made", i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config"), []byte(madeConfig(uint64(i))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	readable := 0
	for name, said := range readConfigs(t, top) {
		text := fileIn(t, top, name, "config")
		f, err := awsconfig.Parse(text)
		if (err != nil) != (said.Boto == nil) || (said.Boto == nil) != (said.CLI == nil) {
			t.Errorf("%s: keyrot says %v, botocore read it: %t, the AWS CLI: %t\n%q", name, err, said.Boto != nil, said.CLI != nil, text)
			continue
		}
		if err != nil {
			continue
		}
		readable++
		raw, profiles := configSections{}, configSections{}
		for _, s := range f.Sections {
			settings := map[string]string{}
			for _, o := range append(s.Options, f.Defaults.Options...) {
				settings[o.Name] = f.Option(s, o.Name).Value
			}
			raw[s.Name] = settings
			if p := s.Profile(); p != "" {
				profiles[p] = settings
			}
		}
		delete(said.Boto.Profiles, "") // [profile ''] is nobody's
		if diff := cmp.Diff(said.Boto.Raw, raw); diff != "" {
			t.Errorf("%s (-botocore +keyrot):\n%s\n%q", name, diff, text)
		}
		if diff := cmp.Diff(said.Boto.Profiles, profiles); diff != "" {
			t.Errorf("%s: profiles (-botocore +keyrot):\n%s\n%q", name, diff, text)
		}
	}
	if readable < 250 {
		t.Errorf("%d files could be read, want enough of both", readable)
	}
}

// readConfigs runs read.py on the folders in top.
func readConfigs(t *testing.T, top string) map[string]configRead {
	t.Helper()
	python, err := installed("venv", "bin", "python3")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("awsconfig", "read.py"), top)
	cmd.Env = append(os.Environ(), "PYTHONUTF8=1", "HOME="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var said map[string]configRead
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return said
}

// madeConfig returns a configuration file made by chance.
func madeConfig(seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 12))
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	eol := one("\n", "\n", "\n", "\r\n", "\r")
	var b strings.Builder
	for i := range 2 + r.IntN(12) {
		indent := one("", "", "", "", "  ", "    ", "\t", " \t", "\u00a0", "\x1c")
		name := fmt.Sprint(one("region", "Output", "s3", "ca_bundle", "x y", "größe"), r.IntN(9))
		value := one("", "a", "b = c", "d: e ; f", "\"q\" #g", "日本 ", "\\", "[h]")
		line := indent + name + one("=", " = ", ":", " : ", "\t=\t") + value
		switch pick := r.IntN(20); {
		case i == 0 || pick < 4:
			section := one("profile ", "profile  ", "profile\t", "profilex ", "", "sso-session ", " profile ") +
				one("a", "b", "'c d'", `"e f"`, `g\ h`, "it's", "''", `"\x\"y"`, "i]j", "k # l") + one("", "", fmt.Sprint(r.IntN(99)))
			line = one("", "", "", " ") + "[" + one(section, section, section, "default", "DEFAULT", "profile default") + "]" + one("", "", " # m", " ]", "n")
		case pick == 4:
			line = indent + one("#", ";", "# o = p", "\u3000")
		case pick == 5:
			line = ""
		case pick < 8:
			line = one("  ", "    ", "\t\t") + one("q = r", "s=t", "u: v", "w", "x\u2028y = z", "")
		case pick == 8 && r.IntN(8) == 0:
			line = one("word", "= x", "[open", "\ufeffx = y", "[]", "[ ] = x")
		}
		b.WriteString(line + one(eol, eol, eol, "\n"))
	}
	return b.String()
}
