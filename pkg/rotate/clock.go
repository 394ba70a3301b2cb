package rotate

import "time"

// Clock is implemented by an IAM that can tell AWS's time: what its latest
// answer was dated, and when that was by this process's clock, with a
// monotonic reading. ok is false before the first answer.
//
// Every deadline that keyrot keeps is a promise to clients whose clocks are
// right. A machine whose clock was stepped, or was never set, would break them
// all; AWS's clock is the one that every process shares.
type Clock interface {
	ServerTime() (date, at time.Time, ok bool)
}

// clockSlack is the difference that is put up with: the resolution of the Date
// header, and the time an answer takes.
const clockSlack = 2 * time.Second

// awsTime is AWS's time, carried forward by the monotonic clock: setting this
// machine's clock does not change it.
type awsTime struct {
	date time.Time // AWS's time …
	at   time.Time // … at this monotonic instant
}

// Time returns the time by AWS's clock, or by this machine's until AWS has
// answered for the first time. It is the clock for everything that is compared
// with a promise.
func (r *Rotator) Time() time.Time {
	r.init()
	if c := r.clock.Load(); c != nil {
		return c.date.Add(time.Since(c.at))
	}
	return r.Now()
}

// sync compares the time with AWS's latest answer and reports whether it
// jumped: then what was decided on before no longer holds.
func (r *Rotator) sync() (jumped bool) {
	c, ok := r.IAM.(Clock)
	if !ok {
		return false
	}
	date, at, ok := c.ServerTime()
	if !ok {
		return false
	}
	ours := r.Time()
	off := date.Add(time.Since(at)).Sub(ours)
	if off.Abs() > clockSlack {
		r.clock.Store(&awsTime{date, at})
		r.Log.Warn("this machine's clock differs from AWS's, which is used instead", "offset", off)
		return true
	}
	if r.clock.Load() == nil {
		r.clock.CompareAndSwap(nil, &awsTime{ours.Round(0), time.Now()}) //nolint:forbidigo // the monotonic reading is wanted: from now on it cannot be stepped
	}
	return false
}
