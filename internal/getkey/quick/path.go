package quick

import "runtime"

const windows = runtime.GOOS == "windows"

func isSeparator(c byte) bool { return c == '/' || windows && c == '\\' }

// Join returns the path of name in dir.
func Join(dir, name string) string {
	if windows {
		return dir + `\` + name
	}
	return dir + "/" + name
}

// IsAbs reports whether the path does not depend on the working directory.
func IsAbs(path string) bool {
	if windows {
		return len(path) > 2 && path[1] == ':' && isSeparator(path[2]) || len(path) > 1 && isSeparator(path[0]) && isSeparator(path[1])
	}
	return path != "" && path[0] == '/'
}

// Base returns what comes after the last separator.
func Base(path string) string {
	for i := len(path); i > 0; i-- {
		if isSeparator(path[i-1]) {
			return path[i:]
		}
	}
	return path
}

// CacheDir returns the folder of the cache: KEYROT_CACHE_DIR, or keyrot in the
// system's folder for caches, which is the one of [os.UserCacheDir], or "" if
// there is none.
func CacheDir(getenv func(string) string) string {
	if dir := getenv("KEYROT_CACHE_DIR"); dir != "" {
		return dir
	}
	var dir string
	switch {
	case windows:
		dir = getenv("LocalAppData")
	case runtime.GOOS == "darwin":
		if dir = getenv("HOME"); dir != "" {
			dir += "/Library/Caches"
		}
	default:
		if dir = getenv("XDG_CACHE_HOME"); dir == "" {
			if dir = getenv("HOME"); dir != "" {
				dir += "/.cache"
			}
		} else if !IsAbs(dir) {
			dir = ""
		}
	}
	if dir == "" {
		return ""
	}
	return Join(dir, "keyrot")
}
