//go:build unix

package trust

import "syscall"

const maxLinks = 40 // as Linux follows them

// Path refuses a path whose target can be changed by others than root and the
// user that this process runs as: the error is an [*Error] then. Any other error
// is the system's bare one: there is nothing, or it cannot be looked at. After
// nil nobody else can put anything in the place of what is there.
func Path(path string) error { return check(path, 0, syscall.Geteuid()) }

func check(path string, owners ...int) error {
	w := walk{owners: owners, readOnly: readOnly}
	full := path
	if path == "" {
		return nil
	}
	if path[0] != '/' {
		dir, err := syscall.Getwd()
		if err != nil {
			return err
		}
		full = dir + "/" + path
	}
	if err := w.follow(full); err != nil {
		return err
	}
	if len(w.why) > 0 {
		return &Error{Path: path, Why: w.why, Fix: w.fix}
	}
	return nil
}

type walk struct {
	owners   []int
	readOnly func(path string) bool // nobody can write there, whatever the modes say
	why, fix []string
}

// follow judges every step of an absolute path, as the kernel resolves it.
func (w *walk) follow(path string) error {
	at, rest := "", path // at is free of links; "" is the root
	root, err := stat("/")
	if err != nil {
		return err
	}
	private := w.judge("/", root, false)
	for links := 0; rest != ""; {
		var name string
		name, rest = cut(rest)
		switch name {
		case "", ".":
			continue
		case "..":
			at = parent(at)
			continue
		}
		entry := at + "/" + name
		st, err := stat(entry)
		if err != nil {
			if len(w.why) > 0 {
				return nil // that is the worse news
			}
			return err
		}
		if st.Mode&syscall.S_IFMT != syscall.S_IFLNK {
			at, private = entry, w.judge(entry, st, private)
			continue
		}
		w.judge(entry, st, private)
		target, err := readlink(entry)
		if links++; err != nil || links > maxLinks {
			return syscall.ELOOP
		}
		switch {
		case hasPrefix(at, "/proc/") && hasPrefix(target, "pipe:["): // a pipe that this process was started with
			return nil
		case target != "" && target[0] == '/':
			at, private = "", false
		}
		rest = target + "/" + rest
	}
	return nil
}

// judge notes what is wrong with an entry. It reports whether nobody else can
// get at what is below it: then modes there do not matter, owners still do.
func (w *walk) judge(path string, st *syscall.Stat_t, private bool) bool {
	kind := uint32(st.Mode) & syscall.S_IFMT //nolint:unconvert // narrower on some systems
	e := Entry{
		Owner: int(st.Uid), Group: int(st.Gid), Mode: uint32(st.Mode) & 0o777, //nolint:unconvert // the same
		Dir: kind == syscall.S_IFDIR, Sticky: st.Mode&syscall.S_ISVTX != 0, Link: kind == syscall.S_IFLNK,
		Device: kind == syscall.S_IFCHR || kind == syscall.S_IFBLK,
	}
	if private || e.Mode&0o022 != 0 && !e.Link && w.readOnly(path) { // such as the ConfigMaps of Kubernetes, of mode 0777
		e.Mode &^= 0o022
	}
	why, fix := Judge(path, e, w.owners...)
	if why != "" {
		w.why, w.fix = append(w.why, why), append(w.fix, fix)
	}
	return private || why == "" && e.Dir && uint32(st.Mode)&0o077 == 0 //nolint:unconvert // the same
}

func stat(path string) (*syscall.Stat_t, error) {
	var st syscall.Stat_t
	for {
		if err := syscall.Lstat(path, &st); err != syscall.EINTR {
			return &st, err
		}
	}
}

func trustedGroup() int {
	text, _ := syscall.Getenv(GroupVariable)
	return digits(text)
}

func readlink(path string) (string, error) {
	buf := make([]byte, 4096) // PATH_MAX
	n, err := syscall.Readlink(path, buf)
	if err != nil || n == len(buf) {
		return "", syscall.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}

// cut returns the first name of a path and what is behind it.
func cut(path string) (name, rest string) {
	for i := range len(path) {
		if path[i] == '/' {
			return path[:i], path[i+1:]
		}
	}
	return path, ""
}

func parent(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i]
		}
	}
	return ""
}

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }
