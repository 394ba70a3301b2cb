package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mounted says where a file is mounted by itself, "" if nowhere.
func mounted(dir *os.Root, name string) string {
	d, err := dir.Open(".")
	if err != nil {
		return ""
	}
	defer func() { _ = d.Close() }() // only read
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", d.Fd()))
	if err != nil {
		return ""
	}
	path = filepath.Join(path, name)
	var in mount // that the file is in: the one that is nearest and newest
	for _, m := range mountsOf("self") {
		if m.at == path {
			return "is a mount of its own"
		}
		if strings.HasPrefix(path, strings.TrimSuffix(m.at, "/")+"/") && len(m.at) >= len(in.at) {
			in = m
		}
	}
	if in.at == "" {
		return ""
	}
	return elsewhere(in.device, filepath.Join(in.root, strings.TrimPrefix(path, in.at)))
}

// elsewhere says which process sees a mount of the file of a file system alone.
func elsewhere(device, path string) string {
	seen := map[string]bool{}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range all {
		pid := filepath.Base(proc)
		if space, err := os.Readlink(filepath.Join(proc, "ns", "mnt")); err == nil { // otherwise it is looked at anyway
			if seen[space] {
				continue
			}
			seen[space] = true
		}
		for _, m := range mountsOf(pid) {
			if root, was := strings.CutSuffix(m.root, "//deleted"); m.device == device && root == path {
				if was {
					return fmt.Sprintf("was mounted at %s of process %s, which still reads the file that was here before", m.at, pid)
				}
				return fmt.Sprintf("is mounted by itself at %s of process %s", m.at, pid)
			}
		}
	}
	return ""
}

// mount is a line of mountinfo(5): what of a device is where.
type mount struct{ device, root, at string }

func mountsOf(pid string) (all []mount) {
	raw, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		return nil // it ended, or is not ours to look at
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 4 {
			all = append(all, mount{f[2], unescape(f[3]), unescape(f[4])})
		}
	}
	return all
}

// unescape reads the octal escapes of mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
