//go:build !linux

package quick

import "os"

func args() []string { return os.Args }
