package server

import (
	"go/version"
	"strings"
)

// SafeHTTP2 reports whether a program that was built by that release of Go
// (see runtime.Version) may offer HTTP/2. Releases before 1.26.9, and 1.27
// before 1.27.2, can be ended by any client (GO-2026-6617). A release of an
// unknown name is not safe.
func SafeHTTP2(release string) bool {
	release, _, _ = strings.Cut(release, " ") // experiments follow
	fixed := "go1.26.9"
	if version.Lang(release) == "go1.27" {
		fixed = "go1.27.2"
	}
	return version.Compare(release, fixed) >= 0
}
