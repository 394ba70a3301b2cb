//go:build unix

// Command asker is the floor of a get-key that the agent answers: it sends a
// line to a unix socket and prints what comes back. Arguments: socket, line.
package main

import (
	"os"
	"syscall"
)

func main() {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		panic(err)
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: os.Args[1]}); err != nil {
		panic(err)
	}
	if _, err := syscall.Write(fd, []byte(os.Args[2]+"\n")); err != nil {
		panic(err)
	}
	raw := make([]byte, 4096)
	n, err := syscall.Read(fd, raw)
	if err != nil {
		panic(err)
	}
	_, _ = os.Stdout.Write(raw[:n])
}
