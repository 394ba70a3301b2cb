package plan

import "time"

// Action names what a step does. The names appear in the audit log.
type Action string

// The actions. Those in the first group change IAM; the others look, publish,
// or change only the record.
const (
	Create     Action = "create"
	Deactivate Action = "deactivate"
	Reactivate Action = "reactivate"
	Delete     Action = "delete"

	Look     Action = "look"     // ask IAM for the user's keys
	Identify Action = "identify" // ask IAM for the user's unique id
	Inspect  Action = "inspect"  // ask IAM when a key was last used
	Survey   Action = "survey"   // ask the hand-out log who holds a key
	Verify   Action = "verify"   // prove a key with k GetCallerIdentity calls
	Probe    Action = "probe"    // one GetCallerIdentity for a key IAM's list disagrees on
	Check    Action = "check"    // k GetCallerIdentity calls with a burned key: AWS must refuse them all
	Publish  Action = "publish"
	Copy     Action = "copy" // give the Current pair to optional publishers
	Promote  Action = "promote"
	Retire   Action = "retire"  // Retiring becomes Previous
	Adopt    Action = "adopt"   // a key that only IAM knows becomes Previous
	Forget   Action = "forget"  // the key is gone: drop it from the record
	Notice   Action = "notice"  // a foreign key appeared: remember that it was told
	Dismiss  Action = "dismiss" // an order is done or cannot be carried out
	Follow   Action = "follow"  // IAM calls the user by another name now: go by that

	Wait Action = "wait" // nothing to do before Wake
)

// Mutates reports whether the action changes something in IAM.
func (a Action) Mutates() bool {
	return a == Create || a == Deactivate || a == Reactivate || a == Delete
}

// Reason says why a step is the right one, or why nothing moves. It is shown
// to operators and is the vocabulary of alarms.
type Reason string

// Reasons to act.
const (
	SlotDue        Reason = "slot_due"         // the rotation interval has passed
	NoCurrent      Reason = "no_current"       // the user has no key that can be handed out
	CurrentBroken  Reason = "current_broken"   // AWS refuses the current key; somebody else changed it
	Ordered        Reason = "ordered"          // an operator asked for it
	NotSeen        Reason = "not_seen"         // what comes next depends on what IAM lists
	Unproven       Reason = "unproven"         // AWS has not accepted the new key often enough yet
	Unconfirmed    Reason = "unconfirmed"      // proof after the settle time is missing or too old
	Unpublished    Reason = "unpublished"      // required publishers have not confirmed
	Uncopied       Reason = "uncopied"         // optional publishers have not confirmed
	Recheck        Reason = "recheck"          // whether a publisher's target holds the key still
	Rolled         Reason = "rolled"           // the published Expiration is about to pass while the key is served on
	Ready          Reason = "ready"            // proven, confirmed, published
	Unchecked      Reason = "unchecked"        // the successor must be accepted right before the old key goes
	Superseded     Reason = "superseded"       // its successor serves and every promise has passed
	GraceOver      Reason = "grace_over"       // inactive for long enough
	Orphan         Reason = "orphan"           // created by a call whose answer was lost
	Zombie         Reason = "zombie"           // listed again long after it was deleted
	NeverAccepted  Reason = "never_accepted"   // AWS refused the new key until the deadline
	SpoiltPending  Reason = "pending_inactive" // somebody made the new key inactive
	Vanished       Reason = "vanished"         // IAM no longer lists it
	Renamed        Reason = "renamed"          // somebody renamed the user in IAM
	ListDisagrees  Reason = "list_disagrees"   // IAM's list and the record differ about the served key
	Burning        Reason = "burning"          // leaked: must stop working
	Idle           Reason = "idle"             // unused for long enough to retire
	ForeignKey     Reason = "foreign_key"      // a key that keyrot did not create
	Reclaimed      Reason = "reclaimed"        // a presumed orphan that its owner made active again
	Recovering     Reason = "recovering"       // its secret was lost; an operator said to replace it
	OrderDone      Reason = "order_done"       // the order has been carried out
	OrderPointless Reason = "order_pointless"  // there is nothing the order could act on
)

// Reasons to wait.
const (
	NotDue       Reason = "not_due"      // all is well
	Settling     Reason = "settling"     // proven, waiting out the settle time
	Queued       Reason = "queued"       // a required publisher is busy with other users, or fails for all of them
	LostCreate   Reason = "lost_create"  // a create call's outcome is unknown; IAM's list may lag
	MakingRoom   Reason = "making_room"  // a superseded key is about to leave its slot
	NoRoom       Reason = "no_room"      // both slots are taken by keys that must stay for now
	InUse        Reason = "in_use"       // callers still hold the key that is due
	BackingOff   Reason = "backing_off"  // after a failure
	IsPaused     Reason = "paused"       // frozen by an operator
	IsFrozen     Reason = "window"       // maintenance window: no new rotation
	UserGone     Reason = "user_gone"    // IAM has no such user
	Stranger     Reason = "stranger"     // the user was deleted and created again
	NotRetired   Reason = "not_retired"  // an adopted key is still in use
	NoSuccessor  Reason = "no_successor" // nothing proven could take over
	NoUserListed Reason = "not_selected" // no longer selected
	IsReleased   Reason = "released"     // being let go
	Unreadable   Reason = "unreadable"   // the stored entry cannot be read
	NotRead      Reason = "not_read"     // the selection was not read: only what was ordered is done
)

// Stuck reports whether a wait for this reason needs an operator's attention
// if it lasts.
func (r Reason) Stuck() bool {
	switch r {
	case NoRoom, InUse, UserGone, Stranger, NoSuccessor, ForeignKey, CurrentBroken, NoUserListed, Unpublished, Unreadable:
		return true
	}
	return false
}

// Step is one decision.
type Step struct {
	Action Action
	KeyID  string
	Reason Reason
	Due    time.Time // when the step was planned for; zero if not planned
	Wake   time.Time // Wait: when to look again at the latest
	Slot   time.Time // Create: the slot the new key counts from
	Name   string    // Follow: what IAM calls the user now
	Then   Action    // Look: what is likely to be right afterwards; empty: not known
}
