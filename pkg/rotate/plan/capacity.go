package plan

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Load is what a schedule asks, and what there is to do it with.
type Load struct {
	Users int
	Every time.Duration // between two rotations of a user, on average
	// How many calls of each action IAM allows in a second. Zero: any number.
	Creates, Updates, Deletes float64
	Workers                   int           // zero: any number
	Call                      time.Duration // how long a call of AWS takes; zero: 50 ms
}

// Capacity is what becomes of a Load in the long run.
type Capacity struct {
	Load
	Feasible  bool
	Needed    float64       // rotations per second
	Allowed   float64       // rotations per second that can be relied on; +Inf: any number
	Scarce    string        // what allows the fewest: an action of IAM, or workers
	Most      int           // users that can be rotated that often
	Shortest  time.Duration // between two rotations of a user for all of them to be feasible, in whole seconds
	Late      int           // users that are overdue at any time; zero if feasible
	LateBy    time.Duration // how late they get
	AllAtOnce time.Duration // how long it takes if all users are due at once, as at the start
}

// A rotation makes one call of each action that changes something. A worker is
// busy with all its calls, those that only look included.
const (
	callsOfRotation = 12
	usualCall       = 50 * time.Millisecond
	// reliable is the part of what is possible that can be relied on: slots are not
	// spread evenly, and users that were late have intervals shorter by up to a
	// quarter until they are back on their slots ([Policy.NextSlot]).
	reliable = 0.75
)

// Capacity works out whether the load can be borne, and otherwise how late users
// will be. Users that are due are served in turn: if fewer can be served than
// become due, the interval of each grows until it is Users ÷ possible.
func (l Load) Capacity() Capacity {
	c := Capacity{Load: l, Needed: l.perSecond(), Feasible: true, Most: math.MaxInt32}
	possible := math.Inf(1)
	scarce := func(name string, most float64) {
		if most > 0 && most < possible {
			possible, c.Scarce = most, name
		}
	}
	scarce("CreateAccessKey", l.Creates)
	scarce("UpdateAccessKey", l.Updates)
	scarce("DeleteAccessKey", l.Deletes)
	call := l.Call
	if call <= 0 {
		call = usualCall
	}
	scarce("workers", float64(l.Workers)/(callsOfRotation*call.Seconds()))
	c.Allowed = possible * reliable
	if math.IsInf(possible, 1) || l.Users == 0 || l.Every <= 0 {
		return c
	}
	c.Most = int(c.Allowed*l.Every.Seconds() + 1e-6)
	c.Shortest = seconds(math.Ceil(float64(l.Users) / c.Allowed))
	c.AllAtOnce = seconds(float64(l.Users) / possible)
	if c.Feasible = c.Needed <= c.Allowed; c.Feasible {
		return c
	}
	c.Late = max(0, l.Users-int(math.Round(possible*l.Every.Seconds())))
	c.LateBy = max(0, seconds(float64(l.Users)/possible)-l.Every)
	return c
}

func (l Load) perSecond() float64 {
	if l.Every <= 0 {
		return 0
	}
	return float64(l.Users) / l.Every.Seconds()
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s, math.MaxInt32) * float64(time.Second)).Round(time.Second)
}

// MeanInterval returns the interval at which users with these intervals would be
// rotated as often all together.
func MeanInterval(every []time.Duration) time.Duration {
	perSecond := 0.0
	for _, d := range every {
		if d > 0 {
			perSecond += 1 / d.Seconds()
		}
	}
	if perSecond == 0 {
		return 0
	}
	return time.Duration(float64(len(every)) / perSecond * float64(time.Second)).Round(time.Millisecond)
}

// Complaint says what cannot be kept, and what will come of it. It is empty for
// what is feasible.
func (c Capacity) Complaint() string {
	if c.Feasible {
		return ""
	}
	text := fmt.Sprintf("rotating %d users every %s takes %.2g rotations per second, and %s %s",
		c.Users, brief(c.Every.Round(time.Second)), c.Needed,
		c.Scarce, allows(c.Scarce, c.Allowed))
	if c.Late > 0 {
		return text + fmt.Sprintf(": %d users will be overdue, by up to %s", c.Late, brief(c.LateBy))
	}
	return text + ": users will be overdue for hours after many were due at once"
}

func allows(scarce string, perSecond float64) string {
	if scarce == "workers" {
		return fmt.Sprintf("allow %.2g", perSecond)
	}
	return fmt.Sprintf("allows %.2g", perSecond)
}

// Remedy says what would make it feasible.
func (c Capacity) Remedy() string {
	if c.Scarce == "workers" {
		return fmt.Sprintf("raise workers, or rotate_every to %s or more", brief(c.Shortest))
	}
	return fmt.Sprintf("raise rotate_every to %s or more, or manage at most %d users of this account", brief(c.Shortest), c.Most)
}

// brief writes a duration without its zeros at the end.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
