// Package agent answers get-key from the agent. It needs nothing but system
// calls, so its turn comes before nearly everything else's.
package agent

import "github.com/keyrot/keyrot/internal/getkey/quick"

func init() { quick.Begin() } //nolint:gochecknoinits // the point of this package
