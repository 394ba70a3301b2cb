package rotatetest

import (
	"context"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// Clock returns a clock that AWS has told the time already, which is this
// process's own.
func Clock() *rotate.Clock {
	c := &rotate.Clock{}
	c.Begin()(time.Now()) //nolint:forbidigo // documented
	return c
}

// ClockAt returns the clock of an AWS whose time is what now returns, however it
// jumps. It has not told the time yet.
func ClockAt(now func() time.Time) *rotate.Clock {
	c := &rotate.Clock{Wall: now}
	c.Ask = func(context.Context) error {
		c.Begin()(now())
		return nil
	}
	return c
}
