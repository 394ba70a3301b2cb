package audit

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Life is one key's life as the log has it, planned against actual. Times are
// zero where the log does not say.
type Life struct {
	User              string    `json:"user"`
	Key               string    `json:"access_key_id"`
	CreatePlanned     time.Time `json:"created_planned,omitzero"`
	Created           time.Time `json:"created,omitzero"`
	Verified          time.Time `json:"verified,omitzero"` // latest proof before it was promoted
	Promoted          time.Time `json:"promoted,omitzero"` // for the first time
	DeactivatePlanned time.Time `json:"deactivated_planned,omitzero"`
	Deactivated       time.Time `json:"deactivated,omitzero"`
	Deleted           time.Time `json:"deleted,omitzero"`
	Handouts          int       `json:"handouts"`
	Reason            string    `json:"reason,omitempty"` // why it was created
	// Reactivated is when a roll-back made the key active again, the latest time.
	// Deactivated is of what followed.
	Reactivated time.Time `json:"reactivated,omitzero"`
}

// Lives puts together the lives of all keys that were still there at since, by
// user and creation. It returns the first error of lines.
func Lives(lines iter.Seq2[Line, error], since time.Time) ([]Life, error) {
	byKey := map[string]*Life{}
	for l, err := range lines {
		if err != nil {
			return nil, err
		}
		e := l.Event
		if e.Key == "" || e.Result != "ok" {
			continue
		}
		k := byKey[e.Key]
		if k == nil {
			k = &Life{User: e.User, Key: e.Key}
			byKey[e.Key] = k
		}
		switch e.Action {
		case "create":
			k.Created, k.CreatePlanned, k.Reason = e.Time, e.Due, e.Reason
		case "verify":
			if k.Promoted.IsZero() {
				k.Verified = e.Time
			}
		case "promote":
			if k.Promoted.IsZero() {
				k.Promoted = e.Time
			}
		case "reactivate":
			k.Reactivated = e.Time
			k.Deactivated, k.DeactivatePlanned = time.Time{}, time.Time{}
		case "deactivate":
			k.Deactivated, k.DeactivatePlanned = e.Time, e.Due
		case "delete":
			k.Deleted = e.Time
		case "handout":
			k.Handouts++
		}
	}
	var all []Life
	for _, k := range byKey {
		if k.Deleted.IsZero() || !k.Deleted.Before(since) {
			all = append(all, *k)
		}
	}
	slices.SortFunc(all, func(a, b Life) int {
		return cmp.Or(cmp.Compare(a.User, b.User), a.Created.Compare(b.Created), cmp.Compare(a.Key, b.Key))
	})
	return all, nil
}
