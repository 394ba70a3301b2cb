package rotate

import "time"

// Clock is implemented by an IAM that can tell how far AWS's clock is ahead of
// ours (negative: behind), as of the latest answer; ok is false before the
// first one. AWS dates its answers to the second, so smaller offsets are
// noise.
//
// Every deadline that keyrot keeps is a promise to clients whose clocks are
// right. A machine whose clock was stepped, or was never set, would break them
// all; AWS's clock is the one that every process shares.
type Clock interface {
	Offset() (offset time.Duration, ok bool)
}

// clockSlack is the offset that is put up with: the resolution of the Date
// header and the time an answer takes.
const clockSlack = 2 * time.Second

// Time returns the time by AWS's clock, as well as it is known. It is the
// clock for everything that is compared with a promise.
func (r *Rotator) Time() time.Time {
	r.init()
	return r.Now().Add(time.Duration(r.offset.Load()))
}

// sync reads the offset anew and reports whether it jumped: then what was
// decided on before no longer holds.
func (r *Rotator) sync() (jumped bool) {
	c, ok := r.IAM.(Clock)
	if !ok {
		return false
	}
	offset, ok := c.Offset()
	if !ok {
		return false
	}
	if offset.Abs() <= clockSlack {
		offset = 0
	}
	old := time.Duration(r.offset.Load())
	if (offset - old).Abs() <= clockSlack {
		return false
	}
	r.offset.Store(int64(offset))
	r.Log.Warn("this machine's clock differs from AWS's, which is used instead", "offset", offset)
	return true
}
