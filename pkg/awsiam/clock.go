package awsiam

import (
	"sync/atomic"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

// clock remembers how far AWS's clock was ahead of this machine's when the
// latest list was answered. The Date header has whole seconds.
type clock struct{ offset atomic.Pointer[time.Duration] }

// Offset implements rotate.Clock.
func (a *IAM) Offset() (time.Duration, bool) {
	if d := a.clock.offset.Load(); d != nil {
		return *d, true
	}
	return 0, false
}

// read takes the time from an answer's metadata; without one nothing changes.
func (c *clock) read(m middleware.Metadata) {
	theirs, ok := awsmiddleware.GetServerTime(m)
	if !ok || theirs.IsZero() {
		return
	}
	ours, ok := awsmiddleware.GetResponseAt(m)
	if !ok {
		return
	}
	d := theirs.Sub(ours)
	c.offset.Store(&d)
}
