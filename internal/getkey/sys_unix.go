//go:build unix

package getkey

import (
	"io"
	"os"
	"syscall"
	"time"
)

// exchange sends the request to the socket and returns the answer: an entry,
// or else what comes until the end; within wait for every step. These are the bare system calls: package
// net brings its poller and resolver up first, which takes longer than the
// answer.
func exchange(socket string, request []byte, wait time.Duration) ([]byte, error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer func() { _ = syscall.Close(fd) }()
	limit := syscall.NsecToTimeval(wait.Nanoseconds())
	for _, way := range []int{syscall.SO_SNDTIMEO, syscall.SO_RCVTIMEO} { // the former is connect's, too
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, way, &limit); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := again(func() error { return syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}) }); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	for len(request) > 0 {
		var n int
		if err := again(func() (err error) { n, err = syscall.Write(fd, request); return err }); err != nil {
			return nil, os.NewSyscallError("write", err)
		}
		request = request[n:]
	}
	return readAll(fd, time.Now().Add(wait), complete)
}

// readFile returns what a small file holds. Package os would ask the poller,
// which has to be set up first, whether it can wait for the file.
func readFile(path string) (raw []byte, err error) {
	var fd int
	if err := again(func() (err error) {
		fd, err = syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		return err
	}); err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = syscall.Close(fd) }()
	if raw, err = readAll(fd, time.Time{}, nil); err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return raw, nil
}

// readAll reads until the end, until what came is enough, or fails: at the
// deadline (zero: none) and if there is too much.
func readAll(fd int, deadline time.Time, enough func([]byte) bool) ([]byte, error) {
	answer := make([]byte, 0, sizeOfAnswer)
	for {
		if len(answer) == cap(answer) {
			answer = append(answer, 0)[:len(answer)]
		}
		var n int
		if err := again(func() (err error) { n, err = syscall.Read(fd, answer[len(answer):cap(answer)]); return err }); err != nil {
			return nil, os.NewSyscallError("read", err)
		}
		answer = answer[:len(answer)+n]
		switch {
		case n == 0 || enough != nil && enough(answer):
			return answer, nil
		case len(answer) > maxAnswer:
			return nil, io.ErrShortBuffer
		case !deadline.IsZero() && time.Now().After(deadline):
			return nil, os.ErrDeadlineExceeded
		}
	}
}

// private reports whether the path is a socket that nobody else may offer or
// use.
func private(path string) bool {
	var st syscall.Stat_t
	err := again(func() error { return syscall.Stat(path, &st) })
	return err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFSOCK && st.Mode&0o077 == 0
}

// again repeats a system call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR { //nolint:errorlint // system calls return it as it is
			return err
		}
	}
}
