//go:build unix

package getkey

import (
	"io"
	"os"
	"syscall"
	"time"
)

// exchange sends the request to the socket and returns what comes until the
// end, within wait for every step. These are the bare system calls: package
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
	answer := make([]byte, 0, 4096)
	for deadline := time.Now().Add(wait); ; { // each read has its limit; all of them together, too
		if len(answer) == cap(answer) {
			answer = append(answer, 0)[:len(answer)]
		}
		var n int
		if err := again(func() (err error) { n, err = syscall.Read(fd, answer[len(answer):cap(answer)]); return err }); err != nil {
			return nil, os.NewSyscallError("read", err)
		}
		answer = answer[:len(answer)+n]
		switch {
		case n == 0:
			return answer, nil
		case len(answer) > maxAnswer:
			return nil, io.ErrShortBuffer
		case time.Now().After(deadline):
			return nil, os.ErrDeadlineExceeded
		}
	}
}

// again repeats a system call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR { //nolint:errorlint // system calls return it as it is
			return err
		}
	}
}
