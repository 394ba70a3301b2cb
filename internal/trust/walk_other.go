//go:build !unix

package trust

// Path believes every path: what may be changed there is up to access lists,
// which folders of a user's own keep from others.
func Path(string) error { return nil }

func trustedGroup() int { return -1 }
