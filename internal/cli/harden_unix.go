//go:build unix && !linux

package cli

import "golang.org/x/sys/unix"

// harden keeps secrets out of core dumps.
func harden() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }
