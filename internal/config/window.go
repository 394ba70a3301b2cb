package config

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // images of nothing but a static binary have no zones

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Window is a time of the week in which no rotation begins. What is under way
// is finished, and the active key is served with a rolling Expiration.
type Window struct {
	// Days are mon, tue … sun, or ranges such as mon-fri. Default every day.
	Days []string `mapstructure:"days"`
	// From and To are HH:MM; a To that is not after From is on the next day.
	// Default the whole day.
	From string `mapstructure:"from"`
	To   string `mapstructure:"to"`
	// Zone is an IANA time zone, such as Europe/Berlin. Default UTC.
	Zone string `mapstructure:"zone"`
	// Users are names or patterns. Default all.
	Users []string `mapstructure:"users"`
}

var everyDay = [7]bool{true, true, true, true, true, true, true}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// PolicyAt returns Policy with the windows applied, by the clock now.
func (c Config) PolicyAt(now func() time.Time) func(user string) plan.Policy {
	return func(user string) plan.Policy {
		p := c.Policy(user)
		for _, w := range c.Windows {
			if w.covers(user, now()) {
				p.Frozen = plan.IsFrozen
			}
		}
		return p
	}
}

// validate reports what is wrong with the window.
func (w Window) validate() error {
	days, from, to, _, err := w.parse()
	if err == nil && len(w.Users) == 0 && days == everyDay && (from == to || to-from == 24*time.Hour) {
		return errors.New("from: the window never closes, and no rotation would ever begin; name the users that it is for")
	}
	return err
}

// covers reports whether the window is open for the user at t. A window that
// does not validate is never open.
func (w Window) covers(user string, t time.Time) bool {
	days, from, to, zone, err := w.parse()
	if err != nil || !w.concerns(user) {
		return false
	}
	t = t.In(zone)
	clock := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
	if from < to {
		return days[t.Weekday()] && clock >= from && clock < to
	}
	yesterday := (t.Weekday() + 6) % 7
	return days[t.Weekday()] && clock >= from || days[yesterday] && clock < to
}

func (w Window) concerns(user string) bool {
	return len(w.Users) == 0 || slices.ContainsFunc(w.Users, func(pattern string) bool {
		ok, err := path.Match(pattern, user)
		return ok && err == nil
	})
}

// parse reads the window; to is 24 h for a whole day.
func (w Window) parse() (days [7]bool, from, to time.Duration, zone *time.Location, err error) {
	to = 24 * time.Hour
	if w.From != "" || w.To != "" {
		if from, err = timeOfDay(w.From); err != nil {
			return days, from, to, nil, fmt.Errorf("from: %w", err)
		}
		if to, err = timeOfDay(w.To); err != nil {
			return days, from, to, nil, fmt.Errorf("to: %w", err)
		}
	}
	if zone, err = time.LoadLocation(w.Zone); err != nil {
		return days, from, to, nil, fmt.Errorf("zone: %q is not a time zone such as Europe/Berlin", w.Zone)
	}
	for _, pattern := range w.Users {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return days, from, to, nil, fmt.Errorf("users: %q is a malformed pattern", pattern)
		}
	}
	for _, d := range w.Days {
		first, last, ranged := strings.Cut(strings.ToLower(d), "-")
		a, b := slices.Index(weekdays, first), slices.Index(weekdays, last)
		if !ranged {
			b = a
		}
		if a < 0 || b < 0 {
			return days, from, to, nil, fmt.Errorf("days: %q is not a day such as mon or mon-fri", d)
		}
		for i := a; ; i = (i + 1) % 7 {
			days[i] = true
			if i == b {
				break
			}
		}
	}
	if len(w.Days) == 0 {
		days = everyDay
	}
	return days, from, to, zone, nil
}

func timeOfDay(text string) (time.Duration, error) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("%q is not HH:MM", text)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}
