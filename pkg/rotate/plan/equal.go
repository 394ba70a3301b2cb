package plan

import (
	"slices"
	"time"
)

// Equal reports whether two records say the same. Times are compared as
// instants, and an empty list is as good as none: as they are stored. A field
// that is added to the record must be added here; a test finds it missing.
func (r *Record) Equal(o *Record) bool {
	return r.User == o.User && r.UserID == o.UserID && r.ARN == o.ARN && r.Renamed == o.Renamed &&
		r.Waiting == o.Waiting && r.Failures == o.Failures && r.Error == o.Error &&
		sameTimes(
			[]time.Time{r.Enrolled, r.Slot, r.Served, r.Released, r.Since, r.RetryAt},
			[]time.Time{o.Enrolled, o.Slot, o.Served, o.Released, o.Since, o.RetryAt}) &&
		same(r.Keys, o.Keys, (*Held).equal) && same(r.Intents, o.Intents, (*Intent).equal) &&
		same(r.Gone, o.Gone, (*Tombstone).equal) && same(r.Orphans, o.Orphans, (*Tombstone).equal) &&
		slices.Equal(r.Foreign, o.Foreign) && same(r.Targets, o.Targets, (*Target).equal) &&
		samePtr(r.Order, o.Order, (*Order).equal) && samePtr(r.Pause, o.Pause, (*Pause).equal)
}

func (k *Held) equal(o *Held) bool {
	return k.ID == o.ID && k.Stage == o.Stage && k.Adopted == o.Adopted && k.Tries == o.Tries &&
		slices.Equal(k.HeldBy, o.HeldBy) && sameTimes(k.times(), o.times())
}

func (k *Held) times() []time.Time {
	return []time.Time{
		k.Slot, k.Created, k.Made, k.Proven, k.Confirmed, k.Refused, k.Promoted, k.Promise, k.Deactivated,
		k.Ending, k.Broken, k.Probed, k.Burned, k.Dead, k.Surveyed, k.Again, k.HoldSince,
	}
}

func (in *Intent) equal(o *Intent) bool {
	return in.ID == o.ID && in.At.Equal(o.At) && in.Until.Equal(o.Until) && in.Slot.Equal(o.Slot) && slices.Equal(in.Seen, o.Seen)
}

func (t *Tombstone) equal(o *Tombstone) bool { return t.ID == o.ID && t.At.Equal(o.At) }

func (t *Target) equal(o *Target) bool {
	return t.Name == o.Name && t.KeyID == o.KeyID && t.Tries == o.Tries && t.Error == o.Error && t.Down == o.Down &&
		t.Until.Equal(o.Until) && t.At.Equal(o.At) && t.Again.Equal(o.Again)
}

func (o *Order) equal(b *Order) bool {
	return o.Kind == b.Kind && o.KeyID == b.KeyID && o.At.Equal(b.At) && o.By == b.By && o.Reason == b.Reason && slices.Equal(o.Lost, b.Lost)
}

func (u *Pause) equal(o *Pause) bool {
	return u.Since.Equal(o.Since) && u.Until.Equal(o.Until) && u.Reason == o.Reason && u.By == o.By
}

func sameTimes(a, b []time.Time) bool { return slices.EqualFunc(a, b, time.Time.Equal) }

func same[T any](a, b []T, equal func(a, b *T) bool) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !equal(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

func samePtr[T any](a, b *T, equal func(a, b *T) bool) bool {
	return a == b || a != nil && b != nil && equal(a, b)
}
