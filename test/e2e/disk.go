//go:build e2e && linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Disk is a folder on a small file system of its own, in memory, which can be
// filled.
type Disk struct{ Dir string }

// NewDisk mounts one of some MiB at dir, which must exist. It needs the right to
// mount.
func NewDisk(dir string, mib int) (*Disk, error) {
	if err := syscall.Mount("keyrot-e2e", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mib)); err != nil {
		return nil, fmt.Errorf("mounting a small disk: %w (root is needed; FAULTS_WITHOUT=full leaves this fault out)", err)
	}
	return &Disk{dir}, nil
}

// Unmount takes the file system away, with what is on it.
func (d *Disk) Unmount() error { return syscall.Unmount(d.Dir, syscall.MNT_DETACH) }

// Fill takes all the space that is left.
func (d *Disk) Fill() error {
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// Free gives the space back.
func (d *Disk) Free() error {
	err := os.Remove(d.filler())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (d *Disk) filler() string { return filepath.Join(d.Dir, "filler") }

// A saboteur of system calls: while it runs, a process's calls that take files
// to the disk fail.
type badDisk struct {
	cmd  *exec.Cmd
	done chan error
	out  string
}

// spoilSyncs has every fsync and fdatasync of the files fail in a process, by
// strace. It needs strace and the right to trace the process.
func spoilSyncs(pid int, out string, paths ...string) (*badDisk, error) {
	args := []string{"-f", "-q", "-o", out, "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-e", "inject=fsync,fdatasync:error=EIO"}
	for _, p := range paths {
		args = append(args, "-P", p)
	}
	cmd := exec.Command("strace", append(args, "-p", strconv.Itoa(pid))...)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting strace: %w (install it; FAULTS_WITHOUT=sync leaves this fault out)", err)
	}
	b := &badDisk{cmd, make(chan error, 1), out}
	go func() { b.done <- cmd.Wait() }()
	for !traced(pid) { // until it has attached
		select {
		case <-b.done:
			return nil, errors.New("strace may not trace keyrot (root is needed; FAULTS_WITHOUT=sync leaves this fault out)")
		case <-time.After(pollInterval):
		}
	}
	return b, nil
}

func traced(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !strings.Contains(string(raw), "TracerPid:\t0\n")
}

// stop lets the disk work again and returns how many calls failed.
func (b *badDisk) stop() int {
	_ = b.cmd.Process.Signal(syscall.SIGTERM) // it detaches
	<-b.done
	return b.failed()
}

func (b *badDisk) failed() int {
	raw, _ := os.ReadFile(b.out)
	return strings.Count(string(raw), "(INJECTED)")
}
