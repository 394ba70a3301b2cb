package profile

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/internal/awsconfig"
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/hint"
)

var update = flag.Bool("update", false, "write what TestCorpus wants anew")

const command = "/usr/bin/keyrot-get --user ci --endpoint https://keyrot.example:8443 --format credential-process"

// TestCorpus edits the files of others. Each folder of testdata/corpus holds
// config and credentials as they were, the profile's name unless it is ci, and
// what the configuration becomes (want), or why it stays (refused). The same
// folders are read by botocore and the AWS CLI in test/e2e.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob("testdata/corpus/*")
	if err != nil || len(dirs) < 40 {
		t.Fatalf("the corpus has %d folders, %v", len(dirs), err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			part := func(name string) []byte {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				return text
			}
			w := wanted{"ci", "ci", command}
			if name := strings.TrimSpace(string(part("profile"))); name != "" {
				w.profile = name
			}
			config, credentials := file{"config", part("config")}, file{"credentials", part("credentials")}
			got, err := edit(config, credentials, w)
			ending := "want"
			if err != nil {
				ending = "refused"
				if !errors.Is(err, getkey.ErrUsage) || hint.Of(err) == "" {
					t.Errorf("edit = %v, want getkey.ErrUsage with a hint", err)
				}
				got = fmt.Appendf(nil, "%v\nhint: %s\n", err, hint.Of(err))
			}
			if *update {
				_, _ = os.Remove(filepath.Join(dir, "want")), os.Remove(filepath.Join(dir, "refused"))
				if err := os.WriteFile(filepath.Join(dir, ending), got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(part(ending)), string(got)); diff != "" {
				t.Errorf("edit (-%s +got):\n%s", ending, diff)
			}
			if err == nil {
				again, err := edit(file{"config", got}, credentials, w)
				if err != nil || !bytes.Equal(again, got) {
					t.Errorf("a second time changes it: %v\n%s", err, again)
				}
			}
		})
	}
}

// FuzzEdit holds the writer against the reader: what it wrote has every value
// that was there, and the profile runs the command.
func FuzzEdit(f *testing.F) {
	dirs, _ := filepath.Glob("testdata/corpus/*")
	for _, dir := range dirs {
		config, _ := os.ReadFile(filepath.Join(dir, "config"))
		credentials, _ := os.ReadFile(filepath.Join(dir, "credentials"))
		f.Add(config, credentials, "ci")
		f.Add(config, credentials, "default")
	}
	f.Add([]byte("[profile 'a b']\n\tx = y\n"), []byte(nil), "a b")
	f.Fuzz(func(t *testing.T, config, credentials []byte, profile string) {
		if !nameable(profile) {
			return
		}
		w := wanted{profile, "ci", command}
		got, err := edit(file{"config", config}, file{"credentials", credentials}, w)
		if err != nil {
			if hint.Of(err) == "" {
				t.Errorf("edit = %v, without a hint", err)
			}
			return
		}
		before, after := settings(t, config, profile), settings(t, got, profile)
		if p := after[profile]; p[setting] != command {
			t.Errorf("the profile runs %q in\n%s", p[setting], got)
		}
		for _, all := range []map[string]map[string]string{before, after} {
			if delete(all[profile], setting); len(all[profile]) == 0 {
				delete(all, profile)
			}
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("other values (-before +after):\n%s\n%s", diff, got)
		}
		again, err := edit(file{"config", got}, file{"credentials", credentials}, w)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("a second time changes it: %v\n%s", err, again)
		}
	})
}

// settings returns the settings of every section, and of the profile by its name.
func settings(t *testing.T, text []byte, profile string) map[string]map[string]string {
	t.Helper()
	f, err := awsconfig.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]string{}
	for _, s := range append(f.Sections, f.Defaults) {
		name := "[" + s.Name + "]"
		if s.Profile() == profile {
			name = profile
		}
		if all[name] != nil {
			t.Errorf("%s is there twice in\n%s", name, text)
		}
		all[name] = map[string]string{}
		for _, o := range s.Options {
			all[name][o.Name] = o.Value
		}
	}
	return all
}
