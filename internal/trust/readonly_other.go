//go:build unix && !linux

package trust

func readOnly(string) bool { return false }
