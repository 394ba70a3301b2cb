package plan

import "time"

// Status is an access key's status as IAM words it. A status other than
// [Active] (Inactive, Expired, or one invented later) does not authenticate
// but still occupies one of the user's two slots.
type Status string

// The statuses keyrot sets.
const (
	Active   Status = "Active"
	Inactive Status = "Inactive"
)

// Quota is the number of access keys IAM allows a user, inactive ones
// included. It cannot be raised (IAM User Guide, "IAM and AWS STS quotas").
const Quota = 2

// Key is one access key as IAM lists it.
type Key struct {
	ID      string
	Status  Status
	Created time.Time // CreateDate by AWS's clock, whole seconds
	Usage   Usage     // filled in by an Inspect or Survey step
}

// Usage is what is known about who uses a key. It is asked for only when a
// decision depends on it.
type Usage struct {
	Known    bool      // whether IAM was asked during this pass
	LastUsed time.Time // GetAccessKeyLastUsed; zero: never used
	Surveyed bool      // whether the hand-out log was asked during this pass
	Holders  []string  // callers whose latest hand-out is this key
}

// Stage is how far a key that keyrot holds has come.
type Stage string

// The stages, in the order a key goes through them.
const (
	Pending  Stage = "Pending"  // created or imported; not proven, never handed out
	Current  Stage = "Current"  // the one key that is handed out
	Previous Stage = "Previous" // superseded; works until it is deactivated
	Retiring Stage = "Retiring" // was there before keyrot; becomes Previous once idle
)

// Held is a key that keyrot created or was told to adopt.
type Held struct {
	ID    string `json:"id"`
	Stage Stage  `json:"stage"`
	// Slot is the due time of the key's creation; its deactivation and
	// deletion are counted from here, so that lateness does not accumulate.
	Slot        time.Time `json:"slot"`
	Created     time.Time `json:"created"`              // CreateDate as IAM answered
	Made        time.Time `json:"made"`                 // by keyrot's clock; never before Slot
	Proven      time.Time `json:"proven,omitzero"`      // first time AWS accepted it k times in a row
	Confirmed   time.Time `json:"confirmed,omitzero"`   // latest proof that counts for promotion
	Refused     time.Time `json:"refused,omitzero"`     // first refusal since it was last accepted
	Promoted    time.Time `json:"promoted,omitzero"`    // became Current
	Promise     time.Time `json:"promise,omitzero"`     // latest Expiration given or to be given for it
	Deactivated time.Time `json:"deactivated,omitzero"` // UpdateAccessKey Inactive was acknowledged
	Ending      time.Time `json:"ending,omitzero"`      // a lost call may take it away until then: see [Record.EndsLate]
	Broken      time.Time `json:"broken,omitzero"`      // found refused by AWS while Current
	Probed      time.Time `json:"probed,omitzero"`      // last probe that was accepted though IAM's list disagreed
	Burned      time.Time `json:"burned,omitzero"`      // burn was ordered for it, the first time
	Dead        time.Time `json:"dead,omitzero"`        // Burned: AWS was asked, and refused it
	Adopted     bool      `json:"adopted,omitempty"`    // not created by keyrot
	Surveyed    time.Time `json:"surveyed,omitzero"`    // Retiring: when its use was last looked up
	Again       time.Time `json:"again,omitzero"`       // no proof is tried before this
	Tries       int       `json:"tries,omitempty"`      // unsuccessful ones since the last success
	HeldBy      []string  `json:"held_by,omitempty"`    // callers found still using it
	HoldSince   time.Time `json:"hold_since,omitzero"`  // deactivation has waited for them since
}

// Intent is the note written before CreateAccessKey is called. If the answer
// is lost, the key it may have created is recognised by it.
type Intent struct {
	ID    string    `json:"id"`
	At    time.Time `json:"at"`             // when it was written
	Until time.Time `json:"until"`          // the call cannot take effect later than this
	Slot  time.Time `json:"slot"`           // due time the new key counts from
	Seen  []string  `json:"seen,omitempty"` // key ids that existed before
}

// Tombstone remembers a key that is gone, because IAM's list may show it for
// a while yet.
type Tombstone struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

// OrderKind names what an operator asked for.
type OrderKind string

// The orders.
const (
	Force    OrderKind = "force"    // rotate now, not at the next slot
	Rollback OrderKind = "rollback" // make Previous Current again, then pause
	Burn     OrderKind = "burn"     // the key leaked: replace and deactivate it now
	Recover  OrderKind = "recover"  // replace the keys whose secrets were lost with the store
)

// Order is an operator's wish. It is saved in the record, so that whichever
// process acts next carries it out.
type Order struct {
	Kind   OrderKind `json:"kind"`
	KeyID  string    `json:"key_id,omitempty"` // the leaked key, the key to go back to, or the one that may make room
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	// Lost are the keys that a recovery replaces: keyrot made them, and their
	// secrets were lost with the store. It touches no others but KeyID.
	Lost []string `json:"lost,omitempty"`
}

// Pause freezes a user: nothing is changed in IAM, the Current key is served
// with a rolling Expiration.
type Pause struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // zero: until resumed
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
}

// Record is all that keyrot remembers about one user, secrets apart.
type Record struct {
	User     string      `json:"user"`
	UserID   string      `json:"user_id"`           // AIDA…; a user re-created under the same name is a stranger
	ARN      string      `json:"arn,omitempty"`     // when it was enrolled; secrets are sealed for it
	Renamed  string      `json:"renamed,omitempty"` // what IAM calls the user now, if it was renamed since
	Enrolled time.Time   `json:"enrolled"`
	Slot     time.Time   `json:"slot,omitzero"`   // due time of the newest creation; zero: none yet
	Served   time.Time   `json:"served,omitzero"` // when a key became Current last; older records lack it
	Keys     []Held      `json:"keys,omitempty"`
	Intents  []Intent    `json:"intents,omitempty"`
	Gone     []Tombstone `json:"gone,omitempty"`
	Orphans  []Tombstone `json:"orphans,omitempty"` // since when presumed orphans are inactive
	Foreign  []string    `json:"foreign,omitempty"` // unknown keys already told about
	Targets  []Target    `json:"targets,omitempty"` // what publishers' targets hold
	Order    *Order      `json:"order,omitempty"`
	Pause    *Pause      `json:"pause,omitempty"`
	Released time.Time   `json:"released,omitzero"` // being let go: no new rotation, ends with one key
	// Waiting is the reason nothing moves though something should; told once.
	Waiting  Reason    `json:"waiting,omitempty"`
	Since    time.Time `json:"since,omitzero"` // since when Waiting
	Failures int       `json:"failures,omitempty"`
	RetryAt  time.Time `json:"retry_at,omitzero"` // no attempt before this, unless a burn or a rollback is open
	Error    string    `json:"error,omitempty"`   // last failure, without secrets; at most 1,000 bytes
}

// World is everything a decision may depend on.
type World struct {
	Record Record
	UserID string // as IAM answers now; empty: not asked during this pass
	Name   string // as IAM calls the user with the record's UserID now; empty: not asked
	Absent bool   // IAM says that there is no such user
	Blind  bool   // AWS failed in this pass: only what needs none of it is done
	Unseen bool   // IAM was not asked for the keys: see [Unseen]
	Keys   []Key  // IAM's list, which may lag behind
}

// IAMName returns what IAM calls the user. Record.User stays as it was at
// enrolment: callers, settings and the log know the user by it.
func (r *Record) IAMName() string {
	if r.Renamed != "" {
		return r.Renamed
	}
	return r.User
}

// Is reports whether the record is that of the user with this unique id.
func (r *Record) Is(userID string) bool { return userID != "" && r.UserID == userID }

// Key returns the held key with the given id, or nil.
func (r *Record) Key(id string) *Held {
	for i := range r.Keys {
		if r.Keys[i].ID == id {
			return &r.Keys[i]
		}
	}
	return nil
}

// In returns the newest held key in the stage, or nil.
func (r *Record) In(s Stage) *Held {
	var found *Held
	for i := range r.Keys {
		if k := &r.Keys[i]; k.Stage == s && (found == nil || !k.Slot.Before(found.Slot)) {
			found = k
		}
	}
	return found
}

// Paused reports whether the user is frozen at now.
func (r *Record) Paused(now time.Time) bool {
	return r.Pause != nil && (r.Pause.Until.IsZero() || now.Before(r.Pause.Until))
}

func (r *Record) tombstone(id string) *Tombstone {
	for i := range r.Gone {
		if r.Gone[i].ID == id {
			return &r.Gone[i]
		}
	}
	return nil
}

// secretless reports whether only IAM knows the key's secret: it was there
// before keyrot, or was lost with a store. It can be neither proven nor served.
func (k *Held) secretless() bool { return k.Adopted && k.Proven.IsZero() && k.Stage != Pending }

func (w *World) listed(id string) *Key {
	for i := range w.Keys {
		if w.Keys[i].ID == id {
			return &w.Keys[i]
		}
	}
	return nil
}
