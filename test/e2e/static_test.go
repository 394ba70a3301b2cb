//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestNothingButTheBinary runs the static binary where nothing else is: an image
// that is built from scratch has no zones, no shell and no folder but its own.
func TestNothingButTheBinary(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	raw, err := os.ReadFile(filepath.Join(build(t), "keyrot"))
	if err != nil {
		t.Fatal(err)
	}
	const settings = `users: {names: [ci]}
windows:
  - {zone: Europe/Berlin, days: [sat], from: "22:00", to: "06:00"}
`
	for name, text := range map[string][]byte{"keyrot": raw, "keyrot.yaml": []byte(settings)} {
		if err := os.WriteFile(filepath.Join(root, name), text, 0o700); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/keyrot", "plan", "--config", "/keyrot.yaml")
	cmd.Dir, cmd.Env = "/", []string{"AWS_EC2_METADATA_DISABLED=true"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "zone") {
		t.Errorf("plan with a window in Europe/Berlin: %v\n%s", err, out)
	}
}
