//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// BuildKeyrot builds the commands of the repository into dir, as a release is
// built, and returns dir.
func BuildKeyrot(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-tags=lambda.norpc", "-o", dir+"/", "./cmd/...")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building keyrot: %w\n%s", err, out)
	}
	return dir, nil
}

// Keyrot is a keyrot installation: the binary, its settings and its state.
type Keyrot struct {
	Bin string // folder of the binaries
	Dir string // state and logs
	Env []string
	Key string // API key

	mu     sync.Mutex
	server *Process
}

// Run runs a keyrot command to its end and returns its standard output.
func (k *Keyrot) Run(ctx context.Context, args ...string) ([]byte, error) {
	var out, talk bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(k.Bin, "keyrot"), args...)
	cmd.Env = append(os.Environ(), k.env()...)
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("keyrot %s: %w\n%s", strings.Join(args, " "), err, talk.Bytes())
	}
	return out.Bytes(), nil
}

func (k *Keyrot) env() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	env := append([]string{
		"KEYROT_STORE_PATH=" + filepath.Join(k.Dir, "keyrot.db"),
		"XDG_CONFIG_HOME=" + k.Dir, "KEYROT_CACHE_DIR=" + filepath.Join(k.Dir, "cache"),
		"KEYROT_API_KEY=" + k.Key,
	}, k.Env...)
	if k.server != nil {
		env = append(env, "KEYROT_ENDPOINT="+k.server.URL)
	}
	return env
}

// Serve starts the daemon, on the port that it had before if there was one.
func (k *Keyrot) Serve(ctx context.Context, args ...string) error {
	k.mu.Lock()
	old := k.server
	k.mu.Unlock()
	command := func(addr string) []string {
		if old != nil {
			addr = strings.TrimPrefix(old.URL, "http://")
		}
		return append([]string{filepath.Join(k.Bin, "keyrot"), "serve", "--listen", addr}, args...)
	}
	p, err := start(ctx, filepath.Join(k.Dir, "serve.log"), "/readyz", k.env(), command)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.server = p
	k.mu.Unlock()
	return nil
}

// Stop ends the daemon in an orderly way.
func (k *Keyrot) Stop() { k.server.Stop() }

// Kill ends the daemon as a power cut would.
func (k *Keyrot) Kill() {
	_ = k.server.cmd.Process.Kill()
	k.server.done <- <-k.server.done // for who stops it
}

// Pair is what get-key prints.
type Pair struct {
	AccessKeyId, SecretAccessKey, UserName string //nolint:revive // as AWS spells it
	Expiration                             time.Time
}

// GetKey asks for the user's key as a program would.
func (k *Keyrot) GetKey(ctx context.Context, user string) (p Pair, err error) {
	out, err := k.Run(ctx, "get-key", "--user", user, "--format", "json")
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(out, &p)
}

// refusal reports whether AWS answered and did not accept the key.
func refusal(err error) bool {
	var res *smithyhttp.ResponseError
	return errors.As(err, &res) && res.HTTPStatusCode()/100 == 4
}
