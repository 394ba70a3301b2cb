//go:build e2e && sdks

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Each SDK calls for so long, which is rotations enough for five and more.
const (
	sdkSeconds   = 70
	sdkRotations = 5
)

// Slower than the other scenes: ten programs share the machine.
var sdkSchedule = []string{"--rotate-every", "8s", "--deactivate-after", "14s", "--delete-after", "15s", "--settle", "0s"}

// tally is what a caller prints at its end.
type tally struct {
	Calls   int      `json:"calls"`
	Keys    int      `json:"keys"` // that it has signed with
	Refused []string `json:"refused"`
}

// TestSDKs lets the real SDKs make signed calls through rotations, each through
// credential_process and through the agent's container endpoint.
func TestSDKs(t *testing.T) {
	ctx := t.Context()
	sdks := callers(t)
	var users []string
	for name := range sdks {
		users = append(users, name+"-process", name+"-container")
	}
	v, err := StartVersitygw(ctx, shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Stop)
	s := newScene(t, v.IAM.URL, v.Root, users...)
	root := s3.NewFromConfig(config(v.S3.URL, v.Root), func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("demo")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ctx, sdkSchedule...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	for _, u := range users {
		s.ready(u)
	}
	a := s.startAgent(users)
	ends := []string{"AWS_ENDPOINT_URL_S3=" + v.S3.URL, "AWS_ENDPOINT_URL_STS=" + v.IAM.URL, "AWS_REGION=" + Region, "AWS_DEFAULT_REGION=" + Region}
	profiles, log := s.profiles(users)
	results := map[string]tally{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, command := range sdks {
		for way, env := range map[string][]string{
			"process": {"AWS_CONFIG_FILE=" + profiles, "AWS_PROFILE=" + name + "-process", "KEYROT_API_KEY=" + s.Key, "KEYROT_AGENT_SOCKET=/nonexistent", "KEYROT_CACHE_DIR=" + filepath.Join(s.Dir, "cache")},
			"container": {
				"AWS_CONFIG_FILE=/dev/null", "AWS_CONTAINER_CREDENTIALS_FULL_URI=" + a.URL + "/container-credentials/" + name + "-container",
				"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + filepath.Join(s.Dir, "agent.token"),
			},
		} {
			user := name + "-" + way
			wg.Go(func() {
				r, err := runCaller(ctx, command, append(env, ends...))
				if err != nil {
					t.Errorf("%s: %v", user, err)
				}
				mu.Lock()
				defer mu.Unlock()
				results[user] = r
			})
		}
	}
	wg.Wait()
	fetches := s.served(a)
	raw, _ := os.ReadFile(log)
	for _, line := range strings.Fields(string(raw)) {
		fetches[line]++
	}
	for _, user := range users {
		r := results[user]
		t.Logf("%-18s %4d calls with %2d keys, %3d fetches, %d refused", user, r.Calls, r.Keys, fetches[user], len(r.Refused))
		if r.Keys <= sdkRotations || len(r.Refused) > 0 || fetches[user] == 0 {
			t.Errorf("%s: %d keys, want more than %d; refused %v", user, r.Keys, sdkRotations, r.Refused)
		}
	}
}

// callers returns each SDK's command line.
func callers(t *testing.T) map[string][]string {
	t.Helper()
	sdks, err := filepath.Abs("../../.e2e/sdks")
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("sdks")
	if err != nil {
		t.Fatal(err)
	}
	goCaller := filepath.Join(t.TempDir(), "gocaller")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "e2e", "-o", goCaller, "./sdks/gocaller")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the Go caller: %v\n%s", err, out)
	}
	if err := os.Setenv("CALLER_MODULES", filepath.Join(sdks, "js")); err != nil {
		t.Fatal(err)
	}
	return map[string][]string{
		"cli":  {filepath.Join(here, "python", "cli.sh"), filepath.Join(sdks, "venv", "bin", "aws")},
		"boto": {filepath.Join(sdks, "venv", "bin", "python3"), filepath.Join(here, "python", "caller.py")},
		"js":   {"node", filepath.Join(here, "js", "caller.mjs")},
		"java": {"java", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(sdks, "java", "*"), filepath.Join(here, "java", "Caller.java")},
		"go":   {goCaller},
	}
}

func runCaller(ctx context.Context, command, env []string) (r tally, err error) {
	ctx, cancel := context.WithTimeout(ctx, (sdkSeconds+60)*time.Second)
	defer cancel()
	var talk bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_") && !strings.HasPrefix(kv, "KEYROT_") && !strings.Contains(strings.ToLower(kv), "_proxy=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.Env = append(cmd.Env, "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true", "CALLER_SECONDS="+strconv.Itoa(sdkSeconds))
	cmd.Stderr = &talk
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("%w\n%s", err, talk.String())
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("%w: %s\n%s", err, out, talk.String())
	}
	return r, nil
}

// ready waits until keyrot has a key for the user.
func (s *scene) ready(user string) {
	s.t.Helper()
	s.until(func() error {
		_, err := s.GetKey(s.t.Context(), user)
		return err
	})
}

// startAgent starts the agent for the users.
func (s *scene) startAgent(users []string) *Process {
	s.t.Helper()
	p, err := start(s.t.Context(), filepath.Join(s.Dir, "agent.log"), "/metrics", s.env(), func(addr string) []string {
		return []string{
			filepath.Join(s.Bin, "keyrot"), "agent", "--users", strings.Join(users, ","), "--listen", addr,
			"--socket", filepath.Join(s.Dir, "agent.sock"), "--token-file", filepath.Join(s.Dir, "agent.token"),
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(p.Stop)
	return p
}

// profiles lets keyrot write a profile for each user, with a keyrot-get beside
// it that counts its runs in log.
func (s *scene) profiles(users []string) (file, log string) {
	s.t.Helper()
	dir := s.t.TempDir()
	file, log = filepath.Join(dir, "config"), filepath.Join(dir, "fetches")
	for _, name := range []string{"keyrot", "keyrot-get"} {
		raw, err := os.ReadFile(filepath.Join(s.Bin, name))
		if err != nil {
			s.t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if name == "keyrot-get" {
			to += ".real"
			count := fmt.Sprintf("#!/bin/sh\necho \"$2\" >>%s\nexec %s \"$@\"\n", log, to)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(count), 0o700); err != nil {
				s.t.Fatal(err)
			}
		}
		if err := os.WriteFile(to, raw, 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, user := range users {
		cmd := exec.CommandContext(s.t.Context(), filepath.Join(dir, "keyrot"), "get-key", "--user", user, "--write-profile", user)
		cmd.Env = append(append(os.Environ(), s.env()...), "AWS_CONFIG_FILE="+file)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	return file, log
}

// served returns how often the agent has answered, by user.
func (s *scene) served(a *Process) map[string]int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, a.URL+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		s.t.Fatal(err)
	}
	out := map[string]int{}
	for _, m := range regexp.MustCompile(`served_total\{user="([^"]+)",via="http"\} (\d+)`).FindAllStringSubmatch(body.String(), -1) {
		out[m[1]], _ = strconv.Atoi(m[2])
	}
	return out
}
