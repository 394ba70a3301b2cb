//go:build e2e && sdks

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSDKsReadProfiles: the SDKs for JavaScript and Java, whose readers of AWS
// configuration files are their own, find the command in each file of the corpus
// into which a profile was written, and every other value as before. (Go's is
// profile.TestTheGoSDKReadsIt, botocore's TestAWSConfigFiles.)
func TestSDKsReadProfiles(t *testing.T) {
	t.Parallel()
	sdks, err := installed("sdks")
	if err != nil {
		t.Fatal(err)
	}
	corpus := filepath.Join("..", "..", "internal", "getkey", "profile", "testdata", "corpus")
	readers := map[string][]string{
		"JavaScript": {"node", filepath.Join("sdks", "js", "profiles.mjs")},
		"Java": {
			"java", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(sdks, "java", "*"), filepath.Join("sdks", "java", "Profiles.java"),
		},
	}
	for sdk, command := range readers {
		read := func(file string) (said map[string]configSections) {
			cmd := exec.CommandContext(t.Context(), command[0], append(command[1:], corpus, file)...)
			cmd.Env, cmd.Stderr = append(os.Environ(), "CALLER_MODULES="+filepath.Join(sdks, "js")), os.Stderr
			out, err := cmd.Output()
			if err == nil {
				err = json.Unmarshal(out, &said)
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", sdk, err, out)
			}
			return said
		}
		before, after := read("config"), read("want")
		checked := 0
		for name, now := range after {
			was := before[name]
			profile := strings.TrimSpace(string(fileIn(t, corpus, name, "profile")))
			if profile == "" {
				profile = "ci"
			}
			if _, err := os.Stat(filepath.Join(corpus, name, "config")); strings.Contains(profile, " ") || was == nil && err == nil {
				continue // it is said that not all SDKs find such a name; the SDK could not read the file before, either
			}
			checked++
			if got := now[profile]["credential_process"]; !strings.HasPrefix(got, "/usr/bin/keyrot-get --user ci ") {
				t.Errorf("%s: %s reads credential_process = %q", name, sdk, got)
			}
			for _, all := range []map[string]map[string]string{was, now} {
				if delete(all[profile], "credential_process"); len(was[profile]) == 0 {
					delete(all, profile)
				}
			}
			if diff := cmp.Diff(was, now); len(was)+len(now) > 0 && diff != "" {
				t.Errorf("%s: %s (-before +after):\n%s", name, sdk, diff)
			}
		}
		if checked < 30 {
			t.Errorf("%s was asked about %d files, want more", sdk, checked)
		}
	}
}
