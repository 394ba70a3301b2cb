package awsiam

import (
	"sync/atomic"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

// clock remembers AWS's time, as of the latest list that was answered. The
// Date header has whole seconds.
type clock struct{ latest atomic.Pointer[[2]time.Time] }

// ServerTime implements rotate.Clock.
func (a *IAM) ServerTime() (date, at time.Time, ok bool) {
	if t := a.clock.latest.Load(); t != nil {
		return t[0], t[1], true
	}
	return time.Time{}, time.Time{}, false
}

// read takes the time from an answer's metadata; without one nothing changes.
func (c *clock) read(m middleware.Metadata) {
	if date, ok := awsmiddleware.GetServerTime(m); ok && !date.IsZero() {
		c.latest.Store(&[2]time.Time{date, time.Now()})
	}
}
