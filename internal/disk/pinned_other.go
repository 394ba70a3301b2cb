//go:build !linux

package disk

import "os"

// mounted is for Linux: elsewhere a file cannot be mounted by itself.
func mounted(*os.Root, string) string { return "" }
