//go:build nosandbox

package sandbox

import "context"

// Start returns ErrAbsent.
func Start(context.Context, Options) (*AWS, error) { return nil, ErrAbsent }
