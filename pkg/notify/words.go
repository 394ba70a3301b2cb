package notify

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/printable"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// The beginnings of What.
const (
	failedTo  = "failed:"  // and an action
	heldBy    = "held:"    // and a reason
	foreign   = "foreign:" // and a key id
	isDown    = "down:"    // and a publisher
	isOverdue = "overdue"
)

// holds words the waits that need a person.
var holds = map[plan.Reason][2]string{
	plan.NoRoom: {"both access keys are taken", "A superseded key must stay for now; \"keyrot status\" shows what it is waiting for."},
	plan.InUse:  {"callers still hold the old key", "See \"keyrot whohas\" for who they are; restart them, or let on_in_use act."},
	plan.UserGone: {
		"the IAM user does not exist any more",
		"Take the user out of the selection if it was deleted on purpose. If it was renamed, " +
			"put the new name into users.names; keys, promises and callers stay as they are.",
	},
	plan.Stranger: {
		"the IAM user was deleted and created again",
		"keyrot does not touch the new user; release the old one and enroll the new one.",
	},
	plan.NoSuccessor: {"no proven key can take over", "The old key stays in use. Look at the failures of this user."},
	plan.ForeignKey: {
		"a key that keyrot did not create stands in the way",
		"If the store was restored, run \"keyrot recover\". " +
			"Otherwise find out who created it and who uses it; once nobody does, delete it in IAM.",
	},
	plan.CurrentBroken: {"AWS refuses the key that is handed out", "Somebody changed it in IAM. keyrot makes a new one as soon as it can."},
	plan.NoUserListed:  {"the user is not selected any more", "Select it again, or release it: \"keyrot users release\"."},
	plan.Unreadable:    {"the stored entry cannot be read", "Look at the store and its key; keyrot resumes once it can read the entry."},
	plan.Unpublished: {
		"a required publisher does not confirm the key",
		"Its readers have another key, which may no longer work. Look at the target named in the error.",
	},
}

// failures words the actions that can fail.
var failures = map[plan.Action]string{
	plan.Create: "creating a key fails", plan.Deactivate: "deactivating the old key fails",
	plan.Reactivate: "reactivating a key fails", plan.Delete: "deleting the old key fails",
	plan.Verify: "the new key cannot be proven", plan.Publish: "publishing the new key fails",
	plan.Check: "AWS cannot be asked whether it refuses a burned key",
	plan.Copy:  "an optional publisher fails", plan.Wait: "the keys cannot be listed",
}

// changes words what happened unasked, or by an operator's order.
var changes = map[plan.Action]map[plan.Reason]string{
	plan.Create: {plan.CurrentBroken: "AWS refused the key in use; it is being replaced"},
	plan.Deactivate: {
		plan.Burning: "a leaked key was made inactive",
		plan.Orphan:  "a key was made inactive: keyrot seems to have made it by a call whose answer was lost",

		plan.Recovering: "a key whose secret was lost with the store was made inactive: a new one needs its place",
	},
	plan.Reactivate: {
		plan.Ordered:    "a key was made active again",
		plan.ForeignKey: "a key is active again: it is in use, and not by a lost call of keyrot's",
	},
	plan.Promote: {plan.Ordered: "the previous key is handed out again and the user is paused"},
	plan.Delete: {
		plan.Orphan: "a key whose secret was lost was deleted", plan.NeverAccepted: "AWS never accepted a new key; it was deleted",
		plan.SpoiltPending: "somebody else made a new key inactive; it was deleted",
	},
	plan.Forget: {plan.Vanished: "somebody else removed a key from IAM"},
	plan.Follow: {plan.Renamed: "the user was renamed in IAM"},
}

// entriesOf is what one step means to people.
func entriesOf(user string, step plan.Step, err error, now time.Time) []entry {
	it := Item{User: user, Key: rotate.ShortID(step.KeyID), At: now, Urgent: step.Reason == plan.Burning || step.Reason == plan.CurrentBroken}
	if err != nil {
		if errors.Is(err, rotate.ErrTargetDown) || errors.Is(err, rotate.ErrConflict) ||
			errors.Is(err, rotate.ErrLeased) || errors.Is(err, context.Canceled) {
			return nil // it is told by target; another process acts, or this one ends
		}
		return []entry{{Item: failure(it, step.Action, err)}}
	}
	if step.Action == plan.Wait {
		if !step.Reason.Stuck() {
			return nil
		}
		return []entry{{Item: held(it, step.Reason)}}
	}
	out := []entry{{Item: it, over: func(_, what string) bool {
		return what == failedTo+string(step.Action) || what == failedTo+string(plan.Wait)
	}}}
	switch {
	case step.Action == plan.Notice && step.Reason == plan.Vanished, step.Action == plan.Adopt:
		out = append(out, entry{Item: it, over: func(_, what string) bool { return what == foreign+step.KeyID }})
	case step.Action == plan.Deactivate && step.Reason == plan.Orphan: // an old list made it look like somebody else's
		out = append(out, entry{Item: it, over: func(_, what string) bool { return what == foreign+step.KeyID }})
	case step.Action == plan.Notice && step.Reason == plan.ForeignKey:
		it.Kind, it.What, it.Title = Trouble, foreign+step.KeyID, "a key appeared that keyrot did not create"
		it.Do = "Find out who created it. keyrot never touches it."
		out = append(out, entry{Item: it})
	case step.Action == plan.Promote && step.Reason == plan.Ready:
		it.Kind, it.What, it.Title = Rotation, "rotation", "a new key is handed out"
		out = append(out, entry{Item: it},
			entry{Item: it, over: func(_, what string) bool {
				return !strings.HasPrefix(what, foreign) && what != failedTo+string(plan.Copy)
			}})
	}
	if title := changes[step.Action][step.Reason]; title != "" {
		it.Kind, it.What, it.Title = Change, string(step.Action), title
		if step.Action == plan.Deactivate && step.Reason == plan.Orphan {
			it.Do = "If somebody made it by hand, make it active again now: keyrot then never touches it. Otherwise it is deleted soon."
		}
		if step.Action == plan.Follow {
			it.Text = "Its new name is " + clean(step.Name) + "."
			it.Do = "Nothing to do: keyrot, callers, API keys and settings keep using the old name."
		}
		e := entry{Item: it}
		if step.Action == plan.Deactivate && step.Reason == plan.Burning { // repeated until AWS refuses the key
			e.once = user + " " + step.KeyID
		}
		out = append(out, e)
	}
	return out
}

func failure(it Item, a plan.Action, err error) Item {
	it.Kind, it.What, it.Title, it.Text = Trouble, failedTo+string(a), failures[a], clean(err.Error())
	if it.Title == "" {
		it.Title = string(a) + " fails"
	}
	switch {
	case errors.Is(err, rotate.ErrUnreadable):
		it.Title, it.Do = "the stored entry cannot be read",
			"Nothing is changed and nothing is lost in AWS. Look at the store and its key; keyrot resumes once it can read the entry."
	case errors.Is(err, rotate.ErrDenied):
		it.Do = "Give keyrot the permission; \"keyrot doctor\" says which is missing."
	case errors.Is(err, rotate.ErrThrottled):
		it.Do = "AWS throttles; keyrot slows down and tries again by itself. If it lasts, \"keyrot doctor\" says how many users AWS allows."
	case errors.Is(err, rotate.ErrLimit):
		it.Do = "The user has two keys already. If it lasts, find out who made the one that \"keyrot status\" does not show."
	default:
		it.Do = "keyrot tries again by itself, and the key in use keeps working."
	}
	return it
}

func held(it Item, r plan.Reason) Item {
	it.Kind, it.What = Trouble, heldBy+string(r)
	it.Title, it.Do = holds[r][0], holds[r][1]
	if it.Title == "" {
		it.Title = "held: " + string(r)
	}
	return it
}

func overdue(user string, since, now time.Time) Item {
	return Item{
		Kind: Trouble, User: user, What: isOverdue, At: now, Title: "the rotation is overdue",
		Text: "A new key has been due since " + since.UTC().Format("2 Jan 2006 15:04:05 MST") + ". The old one keeps being handed out.",
		Do:   "See \"keyrot status\" for what stands in the way.",
	}
}

// maxText bounds an error in a message, in bytes.
const maxText = 400

// clean makes an error fit to be mailed: one line, not long, key ids short.
func clean(s string) string {
	fields := strings.Fields(printable.Text(s))
	for i, f := range fields {
		fields[i] = shortenIDs(f)
	}
	s = strings.Join(fields, " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// shortenIDs shortens what looks like an access key id within a word.
func shortenIDs(word string) string {
	isID := func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' }
	var b strings.Builder
	for word != "" {
		i := strings.IndexFunc(word, isID)
		if i < 0 {
			b.WriteString(word)
			break
		}
		n := strings.IndexFunc(word[i:], func(r rune) bool { return !isID(r) })
		if n < 0 {
			n = len(word) - i
		}
		run := word[i : i+n]
		if len(run) >= 16 && (strings.HasPrefix(run, "AKIA") || strings.HasPrefix(run, "ASIA")) {
			run = rotate.ShortID(run)
		}
		b.WriteString(word[:i])
		b.WriteString(run)
		word = word[i+n:]
	}
	return b.String()
}
