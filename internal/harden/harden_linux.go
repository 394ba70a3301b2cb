// Package harden keeps secrets that a process holds out of core dumps and out
// of other processes' reach. It uses bare system calls only: get-key does not
// wait for more.
package harden

import "syscall"

const setDumpable = 4 // PR_SET_DUMPABLE, prctl(2)

// Process switches core dumps off, and lets no other process of the same user
// look inside (ptrace, /proc/PID/mem). What the system refuses is left: the
// process is no worse off than without.
func Process() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 0, 0)
}
