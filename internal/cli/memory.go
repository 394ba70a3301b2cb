package cli

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// defMemory is what a daemon may use before it collects garbage more often, if
// nobody has said: some ten times of what it needs, and less than a flood of
// requests would leave behind.
const defMemory = 192 << 20 // bytes

// limitMemory tells the garbage collector how much memory there is: what
// GOMEMLIMIT says, or nine tenths of the control group's limit, or defMemory.
// It is no hard limit.
func limitMemory() (undo func()) {
	before := debug.SetMemoryLimit(-1) // asks
	if before != math.MaxInt64 {
		return func() {}
	}
	limit := int64(defMemory)
	if group := groupMemory(os.DirFS("/")); group > 0 {
		limit = group / 10 * 9
	}
	debug.SetMemoryLimit(limit)
	return func() { debug.SetMemoryLimit(before) }
}

// groupMemory returns the memory limit of this process's control group, in
// bytes, or of the group above that has the least; zero if there is none
// (Linux: cgroups(7), both versions).
func groupMemory(root fs.FS) int64 {
	raw, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(0)
	for line := range strings.Lines(string(raw)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		top, name := "sys/fs/cgroup", "memory.max"
		switch parts[1] {
		case "":
		case "memory":
			top, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := path.Join("/", parts[2]); ; dir = path.Dir(dir) {
			text, err := fs.ReadFile(root, path.Join(top, dir, name))
			n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // "max" is no number
			if err == nil && bad == nil && n > 0 && n < 1<<50 && (least == 0 || n < least) {
				least = n
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}
