//go:build e2e && sdks

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const sdkKeys = 6 // that each SDK must have signed with

// Slower than the other scenes: ten programs share the machine.
var sdkSchedule = []string{"--rotate-every", "8s", "--deactivate-after", "14s", "--delete-after", "15s", "--settle", "0s"}

// tally is what a caller prints at its end.
type tally struct {
	Calls   int      `json:"calls"`
	Keys    int      `json:"keys"`    // that it has signed with
	Refused []string `json:"refused"` // when, by which key, why
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
	s, v := newSDKScene(t, users)
	a := s.startAgent(users)
	agent := newWitness(t, a.URL)
	ends := []string{"AWS_ENDPOINT_URL_S3=" + v.S3.URL, "AWS_ENDPOINT_URL_STS=" + v.IAM.URL, "AWS_REGION=" + Region, "AWS_DEFAULT_REGION=" + Region}
	profiles, log, pairs := s.profiles(users)
	results := map[string]tally{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, command := range sdks {
		for way, env := range map[string][]string{
			"process": {"AWS_CONFIG_FILE=" + profiles, "AWS_PROFILE=" + name + "-process", "KEYROT_API_KEY=" + s.Key, "KEYROT_AGENT_SOCKET=/nonexistent", "KEYROT_CACHE_DIR=" + filepath.Join(s.Dir, "cache")},
			"container": {
				"AWS_CONFIG_FILE=/dev/null", "AWS_CONTAINER_CREDENTIALS_FULL_URI=" + agent.URL + "/container-credentials/" + name + "-container",
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
	raw, err := os.ReadFile(pairs)
	if err != nil {
		t.Fatal(err)
	}
	promises := agent.promises(raw)
	if len(promises) < sdkKeys*len(users)/2 {
		t.Errorf("%d keys were seen on their way to SDKs", len(promises))
	}
	for _, user := range users {
		r := results[user]
		early := slices.DeleteFunc(slices.Clone(r.Refused), promises.over)
		t.Logf("%-18s %4d calls with %2d keys, %3d fetches, %d failed, of which %d count", user, r.Calls, r.Keys, fetches[user], len(r.Refused), len(early))
		if r.Keys < sdkKeys || len(early) > 0 || fetches[user] == 0 {
			t.Errorf("%s: %d keys, want %d; refused %v", user, r.Keys, sdkKeys, early)
		}
	}
}

// newSDKScene starts servers and a daemon that has a key for each user.
func newSDKScene(t *testing.T, users []string) (*scene, *Versitygw) {
	t.Helper()
	ctx := t.Context()
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
	return s, v
}

// witness stands before the agent and keeps what it answers.
type witness struct {
	*httptest.Server
	mu   sync.Mutex
	said bytes.Buffer
}

func newWitness(t *testing.T, agent string) *witness {
	t.Helper()
	to, err := url.Parse(agent)
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }} // and the Host, which the agent checks
	proxy.ModifyResponse = func(res *http.Response) error {
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		res.Body = io.NopCloser(bytes.NewReader(body))
		w.mu.Lock()
		defer w.mu.Unlock()
		w.said.Write(body)
		return nil
	}
	w.Server = httptest.NewServer(proxy)
	t.Cleanup(w.Close)
	return w
}

// promises are the latest Expirations that keys came with.
type promises map[string]time.Time

// promises reads them in what the agent said, and in what others printed.
func (w *witness) promises(printed []byte) promises {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := promises{}
	for _, said := range [][]byte{w.said.Bytes(), printed} {
		for d := json.NewDecoder(bytes.NewReader(said)); ; {
			var p Pair
			if d.Decode(&p) != nil {
				break
			}
			if p.Expiration.After(all[p.AccessKeyId]) {
				all[p.AccessKeyId] = p.Expiration
			}
		}
	}
	return all
}

// over reports whether a call failed after the key's Expiration, which is
// nobody's fault but the machine's, or because something took too long for the
// SDK's taste.
func (p promises) over(refused string) bool {
	var at float64
	var key string
	_, err := fmt.Sscan(refused, &at, &key)
	until, known := p[key]
	return err == nil && known && at >= float64(until.Unix()) || slow.MatchString(refused)
}

var slow = regexp.MustCompile(`(?i)time-?out|timed out`)

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
	ctx, cancel := context.WithTimeout(ctx, patience+startTimeout)
	defer cancel()
	var talk bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = callerEnv(append(env, "CALLER_SECONDS="+strconv.Itoa(int(patience.Seconds())), "CALLER_KEYS="+strconv.Itoa(sdkKeys)))
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

// callerEnv returns this process's environment without what would lead an SDK
// elsewhere, and with more.
func callerEnv(more []string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "AWS_") || strings.HasPrefix(kv, "KEYROT_") || strings.Contains(strings.ToLower(kv), "_proxy=")
	})
	return append(append(env, "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true"), more...)
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
// it that counts its runs in log, and keeps what it prints in pairs.
func (s *scene) profiles(users []string) (file, log, pairs string) {
	s.t.Helper()
	dir := s.t.TempDir()
	file, log, pairs = filepath.Join(dir, "config"), filepath.Join(dir, "fetches"), filepath.Join(dir, "pairs")
	for _, name := range []string{"keyrot", "keyrot-get"} {
		raw, err := os.ReadFile(filepath.Join(s.Bin, name))
		if err != nil {
			s.t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if name == "keyrot-get" {
			to += ".real"
			count := fmt.Sprintf("#!/bin/sh\necho \"$2\" >>%s\npair=$(%s \"$@\") || exit\necho \"$pair\" | tee -a %s\n", log, to, pairs)
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
	return file, log, pairs
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
