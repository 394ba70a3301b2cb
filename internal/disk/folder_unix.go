//go:build unix

package disk

import (
	"io/fs"
	"syscall"
)

const noWait = syscall.O_NONBLOCK // for somebody who opens a pipe's other end

func ownerOf(info fs.FileInfo) (user, group int) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid)
	}
	return -1, -1
}

func linksOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink) //nolint:unconvert // it is smaller on some systems
	}
	return 1
}
