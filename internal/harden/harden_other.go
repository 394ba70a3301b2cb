//go:build !unix

// Package harden does nothing here: there are no core dumps to switch off.
package harden

// Process does nothing.
func Process() {}
