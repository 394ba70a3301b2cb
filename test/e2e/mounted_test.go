//go:build e2e && linux

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/publish"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// nowhere is an AWS that is not there: nothing is asked of it before a target is refused.
var nowhere = []string{
	"AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=AKIANOWHERE", "AWS_SECRET_ACCESS_KEY=x", "AWS_ENDPOINT_URL=http://127.0.0.1:1",
}

// apart returns a command that runs a shell script with mounts of its own.
func apart(ctx context.Context, script string, args ...string) *exec.Cmd {
	how := []string{"--mount"}
	if os.Geteuid() != 0 {
		how = append(how, "--map-root-user")
	}
	return exec.CommandContext(ctx, "unshare", append(append(how, "sh", "-euc", script, "sh"), args...)...)
}

// container has a file mounted by itself, as "docker run -v FILE:FILE" does.
type container struct {
	in  io.Writer
	out *bufio.Scanner
}

func startContainer(t *testing.T, file string) container {
	t.Helper()
	inside := filepath.Join(t.TempDir(), "inside")
	cmd := apart(t.Context(), `: >"$2"; mount --bind "$1" "$2"; echo ready; while read _; do echo "$(cat "$2")"; done`, file, inside)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = in.Close(), cmd.Wait() })
	c := container{in, bufio.NewScanner(out)}
	if !c.out.Scan() || c.out.Text() != "ready" {
		t.Fatal("nothing can be mounted here: this test needs root or user namespaces, and unshare of util-linux")
	}
	return c
}

// read returns the one line that the container sees in the file.
func (c container) read(t *testing.T) string {
	t.Helper()
	if _, err := fmt.Fprintln(c.in); err != nil {
		t.Fatal(err)
	}
	c.out.Scan()
	return c.out.Text()
}

// TestFileMountedByItself: a container reads a target that is mounted by itself.
// What is confirmed, it sees; where it would not, nothing is confirmed, and the
// commands refuse before a key is made.
func TestFileMountedByItself(t *testing.T) {
	t.Parallel()
	bin, err := BuildKeyrot(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "ci.env")
	write(t, path, "old\n")
	c := startContainer(t, path)

	f := publish.File{Path: path, Text: "${ACCESS_KEY_ID}\n"}
	give := func(key string) error {
		c := rotate.Credential{User: "ci", KeyID: key, Secret: rotate.NewSecret("s"), Expiration: time.Now().Add(time.Hour)}
		return f.Publish(t.Context(), c)
	}
	const mounted = "is mounted by itself at "
	if err := give("AKIA1"); err == nil || !strings.Contains(err.Error(), mounted) || !strings.Contains(err.Error(), "in_place: true") {
		t.Errorf("Publish = %v, want it to be refused: the container would go on reading %q", err, c.read(t))
	}
	config := filepath.Join(dir, "keyrot.yaml")
	write(t, config, "users: {names: [ci]}\nstore: {path: "+dir+"/keyrot.db}\n"+
		"publish: [{type: file, format: env, path: \""+path+"\", users: [ci]}]\n")
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "keyrot"), "rotate-once", "--config", config)
	cmd.Env = append(os.Environ(), nowhere...)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "publish[0].path: "+path+" "+mounted) {
		t.Errorf("rotate-once = %v, want a refusal\n%s", err, out)
	}

	f.InPlace = true
	for _, key := range []string{"AKIA2", "AKIALONGERTHANBEFORE", "AKIA4"} {
		if err := give(key); err != nil {
			t.Fatalf("in place: %v", err)
		}
		if got := c.read(t); got != key {
			t.Errorf("the container reads %q, want %q", got, key)
		}
	}

	// Somebody replaces the file: the container is left with what was there.
	f.InPlace = false
	write(t, path+".new", "AKIA5\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if err := give("AKIA5"); err == nil || !strings.Contains(err.Error(), "still reads the file that was here before") {
		t.Errorf("Publish = %v, want it to be refused: the container reads %q", err, c.read(t))
	}
}

// TestKeyrotInAContainer: the file is a mount of its own where keyrot runs, which
// nothing can take the place of.
func TestKeyrotInAContainer(t *testing.T) {
	t.Parallel()
	bin, err := BuildKeyrot(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, outside, config := filepath.Join(dir, "ci.env"), filepath.Join(dir, "outside"), filepath.Join(dir, "keyrot.yaml")
	for _, p := range []string{path, outside} {
		write(t, p, "")
	}
	write(t, config, "users: {names: [ci]}\nstore: {path: "+dir+"/keyrot.db}\n"+
		"publish: [{type: file, format: env, path: \""+dir+"/${USER}.env\"}]\n")
	const script = `mount --bind "$2" "$3"; AWS_CONFIG_FILE=$3 AWS_SHARED_CREDENTIALS_FILE=$3.none "$1" get-key --user ci --write-profile ci
"$1" rotate-once --config "$4"`
	cmd := apart(t.Context(), script, filepath.Join(bin, "keyrot"), outside, path, config)
	cmd.Env = append(os.Environ(), nowhere...)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), path+" is a mount of its own") || !strings.Contains(string(out), "in_place: true") {
		t.Errorf("rotate-once = %v, want a refusal that names in_place\n%s", err, out)
	}
	if got, err := os.ReadFile(outside); err != nil || !strings.HasPrefix(string(got), "[profile ci]\ncredential_process = ") {
		t.Errorf("outside, the AWS configuration file holds %q, %v\n%s", got, err, out)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
