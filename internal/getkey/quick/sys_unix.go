//go:build unix

package quick

import "syscall"

// These are the bare system calls: package os would set its poller up, package
// net its resolver, too, which takes longer than the answer.

// exchange sends the question to the socket and returns the answer, or else what
// comes until the end; within wait (milliseconds) for every step.
func exchange(socket string, question []byte, wait int64) ([]byte, error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Close(fd) }()
	limit := syscall.NsecToTimeval(wait * 1e6)
	for _, way := range []int{syscall.SO_SNDTIMEO, syscall.SO_RCVTIMEO} { // the former is connect's, too
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, way, &limit); err != nil {
			return nil, err
		}
	}
	if err := again(func() error { return syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}) }); err != nil {
		return nil, err
	}
	for len(question) > 0 {
		var n int
		if err := again(func() (err error) { n, err = syscall.Write(fd, question); return err }); err != nil {
			return nil, err
		}
		question = question[n:]
	}
	return readAll(fd, now()+wait, complete)
}

// ReadFile returns what a small file holds. Its errors are bare numbers of the
// system, without operation and path.
func ReadFile(path string) (raw []byte, err error) {
	var fd int
	if err := again(func() (err error) {
		fd, err = syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		return err
	}); err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Close(fd) }()
	return readAll(fd, 0, nil)
}

// readAll reads until the end, until what came is enough, or fails: after the
// deadline (by now; 0: none) and if there is too much.
func readAll(fd int, deadline int64, enough func([]byte) bool) ([]byte, error) {
	answer := make([]byte, 0, sizeOfAnswer)
	for {
		if len(answer) == cap(answer) {
			answer = append(answer, 0)[:len(answer)]
		}
		var n int
		if err := again(func() (err error) { n, err = syscall.Read(fd, answer[len(answer):cap(answer)]); return err }); err != nil {
			return nil, err
		}
		answer = answer[:len(answer)+n]
		switch {
		case n == 0 || enough != nil && enough(answer):
			return answer, nil
		case len(answer) > maxAnswer:
			return nil, syscall.EFBIG
		case deadline != 0 && now() > deadline:
			return nil, syscall.ETIMEDOUT
		}
	}
}

// now returns milliseconds. Package time would have to be waited for.
func now() int64 {
	var t syscall.Timeval
	_ = syscall.Gettimeofday(&t)
	return syscall.TimevalToNsec(t) / 1e6
}

// me is who runs this process.
func me() int { return syscall.Geteuid() }

// private reports whether the path is a socket of that user, which nobody else
// may use.
func private(path string, user int) bool {
	var st syscall.Stat_t
	err := again(func() error { return syscall.Stat(path, &st) })
	return err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFSOCK && st.Mode&0o077 == 0 && int(st.Uid) == user
}

// absent reports whether surely nothing is there.
func absent(path string) bool {
	var st syscall.Stat_t
	return again(func() error { return syscall.Lstat(path, &st) }) == syscall.ENOENT //nolint:errorlint // system calls return it as it is
}

// again repeats a system call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR { //nolint:errorlint // the same
			return err
		}
	}
}
