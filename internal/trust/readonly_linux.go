package trust

import "syscall"

const mountedReadOnly = 1 // ST_RDONLY, statfs(2)

// readOnly reports whether the path is on a file system that is mounted for
// reading only.
func readOnly(path string) bool {
	var st syscall.Statfs_t
	for {
		if err := syscall.Statfs(path, &st); err != syscall.EINTR {
			return err == nil && st.Flags&mountedReadOnly != 0
		}
	}
}
