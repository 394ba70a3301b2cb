package sqlite

import "syscall"

// network names the network file system that path is on, or "". Magic numbers
// from statfs(2).
func network(path string) string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return "" // opening will say what is wrong
	}
	return networkName(uint32(fs.Type))
}

func networkName(magic uint32) string {
	switch magic {
	case 0x6969:
		return "NFS"
	case 0x517b, 0xfe534d42, 0xff534d42:
		return "SMB"
	}
	return ""
}
