//go:build e2e && sdks

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/sandbox"
)

const (
	moreKeys = 4 // that each SDK must have signed with
	hopeless = 3 // failures after which nothing else is expected

	morePatience = 100 * time.Second // with each caller
)

// Ways to a key.
const (
	byProcess   = "process"   // a profile with credential_process
	byContainer = "container" // the agent's endpoint
	byExec      = "exec"      // keyrot exec --via process
)

// moreSDK is an SDK that AWS has given up, or that lives within others.
type moreSDK struct {
	command   []string
	env, ways []string
	cannot    []string // ways by which it gets no key that AWS takes: what docs/consumers.md warns of
}

func moreSDKs(t *testing.T) map[string]moreSDK {
	t.Helper()
	sdks, err := filepath.Abs("../../.e2e/sdks/more")
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("sdks/more")
	if err != nil {
		t.Fatal(err)
	}
	gov1 := filepath.Join(t.TempDir(), "gov1")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", gov1, ".")
	build.Dir = filepath.Join(here, "gov1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the caller of Go version 1: %v\n%s", err, out)
	}
	python := func(script string) []string {
		return []string{filepath.Join(sdks, "venv/bin/python3"), filepath.Join(here, script)}
	}
	java := []string{"java", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(sdks, "java1", "*"), filepath.Join(here, "java1/Caller.java")}
	node := []string{"node", filepath.Join(here, "js2/caller.cjs")}
	js2 := []string{"CALLER_MODULES2=" + filepath.Join(sdks, "js2")}
	return map[string]moreSDK{
		"gov1":        {command: []string{gov1}, env: []string{"AWS_SDK_LOAD_CONFIG=1"}, ways: []string{byProcess, byContainer}},
		"cpp":         {command: python("arrow.py"), ways: []string{byProcess, byContainer}},
		"crt":         {command: python("crt.py"), ways: []string{byProcess, byContainer}},
		"java1":       {command: java, ways: []string{byExec, byContainer}},
		"js2":         {command: node, env: js2, ways: []string{byExec}, cannot: []string{byContainer}},
		"rust":        {command: python("rust.py"), ways: []string{byProcess, byExec}, cannot: []string{byContainer}},
		"objectstore": {command: python("objectstore.py"), cannot: []string{byContainer}},
		"ruby":        {command: []string{"ruby", filepath.Join(here, "caller.rb")}, ways: []string{byProcess}, cannot: []string{byContainer}},
	}
}

// TestMoreSDKs lets further SDKs make signed calls through rotations, before an
// S3 that refuses an empty session token as AWS does; and shows by which ways
// some of them cannot work.
func TestMoreSDKs(t *testing.T) {
	ctx := t.Context()
	sdks := moreSDKs(t)
	var users []string
	for name, sdk := range sdks {
		for _, way := range slices.Concat(sdk.ways, sdk.cannot) {
			users = append(users, name+"-"+way)
		}
	}
	s, v := newSDKScene(t, users)
	agent := newWitness(t, s.startAgent(users).URL)
	profiles, _, pairs := s.profiles(users)
	wait := sync.WaitGroup{}
	gates := map[string]*gate{}
	for name, sdk := range sdks {
		for _, way := range slices.Concat(sdk.ways, sdk.cannot) {
			user := name + "-" + way
			g := newGate(t, v.S3.URL)
			gates[user] = g
			command, env := sdk.command, append(slices.Clone(sdk.env), "CALLER_S3="+g.URL, "AWS_REGION="+Region)
			switch way {
			case byProcess:
				env = append(env, "AWS_CONFIG_FILE="+profiles, "AWS_PROFILE="+user, "KEYROT_API_KEY="+s.Key, "KEYROT_AGENT_SOCKET=/nonexistent",
					"KEYROT_CACHE_DIR="+filepath.Join(s.Dir, "cache"))
			case byContainer:
				env = append(env, "AWS_CONFIG_FILE=/dev/null",
					"AWS_CONTAINER_CREDENTIALS_FULL_URI="+agent.URL+"/container-credentials/"+user,
					"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+filepath.Join(s.Dir, "agent.token"))
			case byExec:
				env = append(append(env, s.env()...), "AWS_CONFIG_FILE=/dev/null")
				keyrot := filepath.Join(filepath.Dir(profiles), "keyrot")
				command = append([]string{keyrot, "exec", "--user", user, "--via", "process", "--"}, command...)
			}
			wait.Go(func() { g.run(ctx, command, callerEnv(env), slices.Contains(sdk.cannot, way)) })
		}
	}
	wait.Wait()
	raw, err := os.ReadFile(pairs)
	if err != nil {
		t.Fatal(err)
	}
	promises := agent.promises(raw)
	for name, sdk := range sdks {
		for _, way := range sdk.ways {
			gates[name+"-"+way].judge(t, name+"-"+way, promises)
		}
		for _, way := range sdk.cannot {
			g := gates[name+"-"+way]
			if g.good > 0 || len(g.failed) == 0 {
				t.Errorf("%s-%s: %d calls succeeded, %d failed: docs/consumers.md says that it cannot work", name, way, g.good, len(g.failed))
				continue
			}
			t.Logf("%-22s cannot: %.300s", name+"-"+way, g.failed[0])
		}
	}
}

// gate stands before S3 for one caller, refuses empty tokens, and keeps what
// came of its calls.
type gate struct {
	*httptest.Server
	mu              sync.Mutex
	keys            map[string]bool // that calls succeeded with
	good            int
	refused, failed []string // by the gate or S3: when, by which key, why; by the caller's word
	talk            strings.Builder
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{keys: map[string]bool{}}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		r.Out.Host = r.In.Host // which is signed
	}}
	next := sandbox.RefuseEmptyToken(proxy, true)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kept := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(kept, r)
		g.note(r, kept.status)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gate) note(r *http.Request, status int) {
	_, key, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ = strings.Cut(key, "/")
	g.mu.Lock()
	defer g.mu.Unlock()
	if status < 400 || status == http.StatusNotFound { // there is no such object, which only those are told who are let in
		g.keys[key] = true
		g.good++
		return
	}
	g.refused = append(g.refused, fmt.Sprintf("%.3f %s status %d", float64(time.Now().UnixMilli())/1000, key, status))
}

// enough reports whether nothing new is expected from the caller.
func (g *gate) enough(cannot bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.keys) >= moreKeys || cannot && len(g.failed) >= hopeless
}

// run lets the caller make calls until it has used enough keys, or time is up.
func (g *gate) run(ctx context.Context, command, env []string, cannot bool) {
	ctx, cancel := context.WithTimeout(ctx, morePatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Stderr, cmd.WaitDelay = env, &g.talk, 5*time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		g.failed = append(g.failed, err.Error())
		return
	}
	go func() {
		for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
			if g.enough(cannot) {
				cancel()
			}
		}
	}()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		g.mu.Lock()
		g.failed = append(g.failed, lines.Text())
		g.mu.Unlock()
	}
	_ = cmd.Wait() // ended by us
}

func (g *gate) judge(t *testing.T, user string, p promises) {
	t.Helper()
	early := slices.DeleteFunc(slices.Clone(g.refused), p.over)
	lost := slices.DeleteFunc(slices.Clone(g.failed), slow.MatchString) // some of which the gate has not seen
	t.Logf("%-22s %4d calls with %2d keys, %d refused, of which %d count",
		user, g.good+len(g.refused), len(g.keys), len(g.refused), len(early))
	if len(g.keys) < moreKeys || len(early) > 0 || len(lost) > len(g.refused) {
		t.Errorf("%s: %d keys, want %d; refused %v; failed %v\n%s", user, len(g.keys), moreKeys, early, lost, g.talk.String())
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
