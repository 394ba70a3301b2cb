package getkey

import (
	"os"
	"runtime"
)

// Package path/filepath would be waited for: it is initialised after all of
// cryptography, whose paths come before its own (docs/adr/0007-get-key-speed.md).

// Join returns the path of name in dir.
func Join(dir, name string) string { return dir + string(os.PathSeparator) + name }

// IsAbs reports whether the path does not depend on the working directory.
func IsAbs(path string) bool {
	if runtime.GOOS == "windows" {
		return len(path) > 2 && path[1] == ':' && os.IsPathSeparator(path[2]) || len(path) > 1 && os.IsPathSeparator(path[0]) && os.IsPathSeparator(path[1])
	}
	return path != "" && path[0] == '/'
}

// Base returns what comes after the last separator.
func Base(path string) string {
	for i := len(path); i > 0; i-- {
		if os.IsPathSeparator(path[i-1]) {
			return path[i:]
		}
	}
	return path
}
