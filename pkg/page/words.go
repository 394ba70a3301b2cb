package page

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/printable"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// waits words the reasons for which nothing moves: what it is, and what helps.
var waits = map[plan.Reason][2]string{
	plan.NoRoom: {
		"Both of the access keys that IAM allows are taken by keys that must stay for now.",
		"\"keyrot status\" shows what the old key is waiting for.",
	},
	plan.InUse: {"Callers still hold the old key, so it stays.", "Let them fetch the new one; \"keyrot whohas\" names them."},
	plan.UserGone: {
		"IAM has no user of this name any more.",
		"Take it out of the selection if it was deleted on purpose; if it was renamed, select the new name.",
	},
	plan.Stranger: {
		"The IAM user was deleted and created again; keyrot does not touch the new one.",
		"Release the user and enroll it again.",
	},
	plan.NoSuccessor: {"No proven key could take over, so the old key stays.", "Look at the last failure below."},
	plan.ForeignKey: {
		"A key that keyrot did not create takes the place of the next one.",
		"Find out who made it and who uses it; once nobody does, delete it in IAM.",
	},
	plan.CurrentBroken: {"AWS refuses the key that is handed out: somebody changed it in IAM.", "keyrot replaces it as soon as it can."},
	plan.NoUserListed:  {"The user is not selected any more; its key is kept as it is.", "Select it again, or release it."},
	plan.Unpublished: {
		"A required publisher has not confirmed the key: its readers have another one.",
		"Look at the target that the last failure names; keyrot tries again every minute.",
	},
	plan.Unreadable: {
		"The stored entry cannot be read, so the user is neither rotated nor served.",
		"Look at the store and its key; keyrot resumes once it can read the entry.",
	},
	plan.LostCreate:    {"It is not known whether the last key was created; keyrot waits until IAM's list shows it.", ""},
	plan.BackingOff:    {"The last attempt failed; keyrot tries again by itself.", ""},
	plan.IsFrozen:      {"A maintenance window: no new rotation is started.", ""},
	plan.NotRetired:    {"A key from before keyrot is still in use; it is kept until it is idle.", ""},
	plan.IsReleased:    {"The user is being let go and keeps its key.", ""},
	plan.ListDisagrees: {"IAM's list and keyrot's record differ; AWS is asked about the key itself.", ""},
}

// lateAfter is how long after it was due a user is late if nobody has looked at
// it: a function runs every minute, and takes a while.
const lateAfter = 75 * time.Second

// word says how the user is, the gravest first.
func word(u *User, e *rotate.Entry, overdueSince, now time.Time) {
	r := e.Record
	why := waits[r.Waiting]
	u.Level, u.State, u.Group = Good, "on time", OnTime
	if r.Renamed != "" {
		u.Why = fmt.Sprintf("IAM calls the user %q now; keyrot, its callers and its settings keep using %q.", clean(r.Renamed), r.User)
	}
	u.Error = clean(r.Error)
	orders := rotate.OpenOrders(r)
	switch {
	case u.Burning:
		u.is(Leaked, Bad, "burning", orders[0].At)
		u.Why = orderWords(orders)
		u.Do = "A running keyrot carries it out; \"keyrot burn\" does it at once. \"keyrot whohas\" names who held the key."
	case u.Overdue:
		u.is(Late, Bad, "overdue", overdueSince)
		u.Why = "A new key should be in place by now. The old one keeps working and keeps being handed out."
		if !u.Serving {
			u.Why = "A key should be in place by now, and there is none to hand out."
		}
		if why[0] != "" {
			u.Why, u.Do = u.Why+" "+why[0], why[1]
		}
	case u.Paused:
		u.is(Paused, Warn, "paused", r.Pause.Since)
		u.Why = pauseWords(*r.Pause)
	case r.Waiting.Stuck():
		u.is(Held, Bad, "held", r.Since)
		u.Why, u.Do = why[0], why[1]
	case r.Error != "":
		u.is(Waiting, Warn, "retrying", r.Since)
		u.Why, u.Do = waits[plan.BackingOff][0], "The key in use keeps working."
	case why[0] != "":
		u.is(Waiting, Warn, "waiting", r.Since)
		u.Why, u.Do = why[0], why[1]
	case !u.Serving:
		u.is(Waiting, Warn, "starting", time.Time{})
		u.Why = "The first key is being made and proven."
	case len(orders) > 0:
		u.is(Waiting, Warn, "ordered", orders[0].At)
		u.Why = orderWords(orders)
	case !e.Due.IsZero() && now.Sub(e.Due) > lateAfter:
		u.is(Late, Warn, "late", e.Due)
		u.Why = "The next step was due, and no keyrot has taken it. The key in use keeps working."
		u.Do = "See that a keyrot runs and reaches AWS: \"keyrot doctor\"."
	case r.In(plan.Pending) != nil:
		u.State = "rotating"
	}
}

func (u *User) is(g Group, l Level, state string, since time.Time) {
	u.Group, u.Level, u.State, u.Since = g, l, state, since
}

func orderWords(orders []rotate.OpenOrder) string {
	var all []string
	for _, o := range orders {
		s := map[plan.OrderKind]string{
			plan.Burn: "A key was reported as leaked", plan.Rollback: "A roll-back was ordered",
			plan.Force: "A rotation was ordered",
		}[o.Kind]
		if o.By != "" {
			s += " by " + clean(o.By)
		}
		if o.State != "" {
			s += ": " + o.State
		}
		all = append(all, s+".")
	}
	return strings.Join(all, " ")
}

func pauseWords(p plan.Pause) string {
	s := "Paused"
	if p.By != "" {
		s += " by " + clean(p.By)
	}
	if p.Reason != "" {
		s += ": " + clean(p.Reason)
	}
	s = strings.TrimRight(s, ".") + ". Nothing changes in IAM, and the current key keeps being handed out"
	if !p.Until.IsZero() {
		return s + " until " + p.Until.UTC().Format("2 Jan 15:04:05 MST") + "."
	}
	return s + " until somebody resumes it."
}

func headline(s Status) (Level, string) {
	switch {
	case s.Total == 0:
		return Warn, "No user is managed yet"
	case s.Burning > 0:
		return Bad, users(s.Burning) + " with a leaked key that may still work"
	case s.Overdue > 0:
		return Bad, users(s.Overdue) + " overdue"
	case s.Held > 0:
		return Bad, users(s.Held) + " held"
	case s.Late > 0:
		return Warn, users(s.Late) + " late"
	case s.Paused > 0:
		return Warn, users(s.Paused) + " paused"
	case s.Waiting > 0:
		return Warn, users(s.Waiting) + " to keep an eye on"
	}
	return Good, "All keys rotate on time"
}

func users(n int) string {
	if n == 1 {
		return "1 user"
	}
	return number(n) + " users"
}

// number writes n with a comma at each thousand.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// done words what succeeded, failed what did not.
var (
	done = map[string]string{
		"create": "A new key was made", "promote": "The new key took over", "deactivate": "The old key was switched off",
		"delete": "The old key was deleted", "reactivate": "A key was switched on again", "publish": "The new key was published",
		"copy": "The key was copied", "retire": "A key from before keyrot will be removed",
		"adopt": "A key whose secret was lost will be removed", "forget": "A key is gone",
		"notice": "A key appeared that keyrot did not create", "released": "The user was let go", "follow": "The user was renamed in IAM",
	}
	failed = map[string]string{
		"create": "Making a new key failed", "deactivate": "Switching the old key off failed", "delete": "Deleting the old key failed",
		"reactivate": "Switching a key on failed", "publish": "Publishing the new key failed", "copy": "Copying the key failed",
		"promote": "Promoting the new key failed", "check": "AWS could not be asked whether it refuses the burned key",
	}
	told = map[string]string{ // recorded before they take effect, and once
		"enrol": "The user is managed from now on", "force": "A rotation was ordered", "rollback": "A roll-back was ordered",
		"burn": "A key was reported as leaked", "recover": "Replacing lost keys was ordered", "pause": "Rotation was paused",
		"resume":  "Rotation was resumed",
		"release": "The user is being let go", "import": "A key was imported", "ack": "A caller confirmed the new key",
		"audit_repair": "The audit log was repaired", "audit_gap": "Lines are missing in the audit log",
	}
	because = map[plan.Reason]string{
		plan.CurrentBroken: "AWS refused the one in use", plan.Ordered: "an operator asked for it", plan.Burning: "it leaked",
		plan.Orphan: "its secret was lost", plan.Zombie: "it came back", plan.NeverAccepted: "AWS never accepted it",
		plan.SpoiltPending: "somebody switched it off", plan.Vanished: "somebody removed it from IAM", plan.Idle: "nobody uses it any more",
		plan.ForeignKey: "keyrot never touches it", plan.Reclaimed: "its owner made it active again",
		plan.Recovering: "its secret was lost and a new key needs its place",
	}
)

var keyID = regexp.MustCompile(`A[KS]IA[A-Z0-9]{12,}`)

// maxText bounds a text that others may have influenced, in bytes.
const maxText = 300

// clean makes such a text fit to be shown: one line, not long, key ids short.
func clean(s string) string {
	s = printable.Line(strings.Join(strings.Fields(s), " "))
	s = keyID.ReplaceAllStringFunc(strings.ToValidUTF8(s, "\uFFFD"), rotate.ShortID)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
