//go:build unix && !linux

// Package harden keeps secrets that a process holds out of core dumps.
package harden

import "syscall"

// Process switches core dumps off.
func Process() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }
