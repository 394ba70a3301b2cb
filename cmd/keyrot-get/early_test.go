package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/entry"
	"github.com/keyrot/keyrot/internal/getkey/local"
	"github.com/keyrot/keyrot/pkg/api"
)

// TestAnswersEarly runs the built program: whoever has the answer prints it
// before packages are initialised that it has no use for.
func TestAnswersEarly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "keyrot-get")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	now := time.Now().UTC()
	c := api.Credential{AccessKeyID: "AKIAX", SecretAccessKey: "verysecret", UserName: "ci", CreateDate: now, Expiration: now.Add(12 * time.Minute)}
	socket := filepath.Join(dir, "s")
	serveAgent(t, socket, c)
	const made, word = "krk_abcdefghijkl_0Lr6zqpNqJWb3ZKNRyMYYkDqWl2ZQ9f5Ju0QnnZ7dVq123456", "K"
	for _, key := range []string{made, word} {
		fill(t, dir, key, c)
	}
	for _, tc := range []struct {
		name, socket, key, user, format string
		before                          string // is not initialised
	}{
		{"the agent has it", socket, "", "ci", "env", "unicode"},
		{"the cache has it", "", made, "ci", "credential-process", "crypto/internal/fips140"},
		{"the cache has it, for an API key of another make", "", word, "ci", "json", "net"},
		{"the cache has it, in a shell's format", "", made, "ci", "env", "net"},
		{"the agent does not have it, the cache does not either", socket, made, "eve", "json", ""},
	} {
		cmd := exec.CommandContext(t.Context(), program, "--user", tc.user, "--format", tc.format, "--endpoint", "http://127.0.0.1:1")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1", "KEYROT_AGENT_SOCKET="+tc.socket, "KEYROT_API_KEY="+tc.key, "KEYROT_CACHE_DIR="+dir)
		if tc.socket == "" {
			cmd.Env = append(cmd.Env, "KEYROT_AGENT_SOCKET="+filepath.Join(dir, "none"))
		}
		var stdout, stderr, want bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if tc.before == "" {
			if cmd.ProcessState.ExitCode() != 1 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "cannot be reached") {
				t.Errorf("%s: %v, printed %q and:\n%s", tc.name, err, stdout.String(), stderr.String())
			}
			continue
		}
		if err := getkey.Write(&want, tc.format, "", c); err != nil {
			t.Fatal(err)
		}
		if err != nil || stdout.String() != want.String() {
			t.Errorf("%s: %v, printed %q, want %q", tc.name, err, stdout.String(), want.String())
		}
		if runtime.GOOS == "linux" && strings.Contains(stderr.String(), "init "+tc.before+" @") {
			t.Errorf("%s: after %s was initialised:\n%s", tc.name, tc.before, stderr.String())
		}
	}
}

func serveAgent(t *testing.T, socket string, c api.Credential) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- local.Serve(ctx, ln, func(user string) (api.Credential, error) {
			if user != c.UserName {
				return api.Credential{}, api.ErrUnknownUser
			}
			return c, nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// fill puts the credential into the cache of who has the API key.
func fill(t *testing.T, dir, key string, c api.Credential) {
	t.Helper()
	vars := map[string]string{"KEYROT_API_KEY": key, "KEYROT_CACHE_DIR": dir}
	w := &getkey.World{
		Out: new(bytes.Buffer), Getenv: func(name string) string { return vars[name] }, Now: time.Now,
		Fetch: func(context.Context, getkey.Source, string, getkey.Entry) (getkey.Entry, error) {
			return getkey.Entry{Credential: entry.Credential(c), Fetched: c.CreateDate, Next: c.Expiration}, nil
		},
	}
	if err := getkey.Run(t.Context(), w, &getkey.Options{User: c.UserName, Format: "json", Endpoint: "http://127.0.0.1:1", NoAgent: true}); err != nil {
		t.Fatal(err)
	}
}
