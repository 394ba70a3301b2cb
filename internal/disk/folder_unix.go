//go:build unix

package disk

import (
	"io/fs"
	"syscall"
)

const noWait = syscall.O_NONBLOCK // for somebody who opens a pipe's other end

func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
