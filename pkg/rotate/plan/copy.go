package plan

import (
	"slices"
	"time"
)

// copies gives the Current pair to the optional publishers that have not
// confirmed it. It is the last of the rules: it delays nothing else. The step's
// Wake is when something else is due, by which it must end.
func (d *decision) copies() *Step {
	k := d.r.In(Current)
	if k == nil || !k.Broken.IsZero() || !k.Deactivated.IsZero() || len(k.uncopied(d.p)) == 0 {
		return nil
	}
	if d.now.Before(k.CopyAgain) {
		return d.later(NotDue, "", k.CopyAgain)
	}
	return &Step{Action: Copy, KeyID: k.ID, Reason: Uncopied, Wake: d.wait.Wake}
}

// Uncopied returns the names of the optional publishers that have not
// confirmed the key.
func (r *Record) Uncopied(p Policy, id string) []string {
	k := r.Key(id)
	if k == nil {
		return nil
	}
	return k.uncopied(p)
}

func (k *Held) uncopied(p Policy) []string {
	var left []string
	for _, name := range p.Copies {
		if !slices.Contains(k.Copied, name) {
			left = append(left, name)
		}
	}
	return left
}

func (k *Held) copied(p Policy, confirmed []string, now time.Time) {
	k.Copied = append(k.Copied, confirmed...)
	if len(k.uncopied(p)) == 0 {
		k.CopyAgain, k.CopyTries = time.Time{}, 0
		return
	}
	k.CopyTries++
	k.CopyAgain = now.Add(p.retry(k.CopyTries))
}
