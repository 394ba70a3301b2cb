//go:build !unix

package cli

// harden does nothing: there are no core dumps to switch off.
func harden() {}
