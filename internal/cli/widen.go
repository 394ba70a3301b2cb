package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/keyrot/keyrot/internal/printable"
	"github.com/keyrot/keyrot/pkg/deploy"
)

// over returns the options for a stack that may be there already: what is not
// given stays as it is. changed are the configuration's keys that say something.
func (o deployOptions) over(ctx context.Context, d *deploy.Deployer, changed []string) (deployOptions, error) {
	s, err := d.Stack(ctx, o.Name)
	if err != nil && !errors.Is(err, deploy.ErrNoStack) {
		return o, err
	}
	// There is none, or it goes first: then the new one is told everything.
	if err != nil || s.Status == types.StackStatusReviewInProgress || s.Doomed() || o.Cleanup {
		if o.Sender == "" {
			o.Sender = o.Admin
		}
		return o, nil
	}
	return o.keeping(s, changed)
}

func (o deployOptions) keeping(s deploy.Stack, changed []string) (deployOptions, error) {
	o.Defaults = keptSettings(settingsOf(s), changed)
	if _, there := s.Parameters["SenderEmail"]; !there && o.Sender == "" {
		o.Sender = o.Admin
	}
	old := func(flag, parameter string) (string, bool) {
		value, there := s.Parameters[parameter]
		return value, there && !o.given[flag]
	}
	if v, keep := old("sender-email", "SenderEmail"); keep {
		o.Sender = v
	}
	if v, keep := old("permissions-boundary", "PermissionsBoundary"); keep {
		o.PermissionsBoundary = v
	}
	if v, keep := old("allow-from", "AllowedSources"); keep {
		o.AllowFrom = networks(v)
	}
	if v, keep := old("api-users", "ApiUsers"); keep {
		o.APIUsers = items(v)
	}
	for _, n := range []struct {
		flag, parameter string
		to              *int
	}{{"reserved-concurrency", "ReservedConcurrency", &o.Reserved}, {"log-retention", "LogRetentionDays", &o.LogDays}} {
		v, keep := old(n.flag, n.parameter)
		if !keep {
			continue
		}
		number, err := strconv.Atoi(v)
		if err != nil {
			return o, fmt.Errorf("parameter %s of stack %s: %q is not a number", n.parameter, s.Name, v)
		}
		*n.to = number
	}
	return o, nil
}

// widen has what lets more happen than before accepted by itself.
func (p *deployment) widen(ctx context.Context, more []string) error {
	p.more = more
	p.showWidenings(more)
	switch {
	case len(more) == 0 || p.o.AcceptWidening:
		return nil
	case p.o.Yes:
		return usage(errors.New("the plan lets more happen than before; nothing was changed"),
			"--yes does not accept that; give --accept-widening, too")
	}
	return p.agreed(ctx, "This lets more happen than before. Accept it?")
}

// showWidenings says them, in red on a terminal (but for NO_COLOR, see no-color.org).
func (p *deployment) showWidenings(more []string) {
	f, red := terminalOf(p.Err)
	for _, m := range more {
		if red && p.Getenv("NO_COLOR") == "" {
			_, _ = fmt.Fprintf(f, "keyrot: \x1b[31;1mWIDER: %s\x1b[0m\n", printable.Line(m))
		} else {
			p.say("WIDER: %s", m)
		}
	}
}

// widenings says in which ways the parameters of a stack would let more happen
// than they do now: more callers, more users, fewer bounds. They are accepted one
// by one with the plan, never by the way.
func widenings(old, now map[string]string) []string {
	var all []string
	wider := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	was, is := func(name string) string { return old[name] }, func(name string) string { return now[name] }

	if more := unmatchedBy(is("ApiUsers"), was("ApiUsers")); len(more) > 0 {
		wider("the stack's API key may read the keys of %s", strings.Join(more, ", "))
	}
	switch {
	case len(networks(was("AllowedSources"))) == 0: // everywhere already
	case len(networks(is("AllowedSources"))) == 0:
		wider("the API may be called from everywhere, not only from %s", was("AllowedSources"))
	default:
		if more := outside(is("AllowedSources"), was("AllowedSources")); len(more) > 0 {
			wider("the API may be called from %s", strings.Join(more, ", "))
		}
	}
	switch b := was("PermissionsBoundary"); {
	case b != "" && is("PermissionsBoundary") == "":
		wider("the roles lose their permissions boundary %s", b)
	case b != "" && b != is("PermissionsBoundary"):
		wider("the roles get another permissions boundary, %s", is("PermissionsBoundary"))
	}
	if !selectsAll(old) {
		all = append(all, moreUsers(old, now)...)
	}
	if less := missingFrom(is("UserExclude"), was("UserExclude")); len(less) > 0 {
		wider("%s are no longer excluded", strings.Join(less, ", "))
	}
	if was("ExistingKeys") == "refuse" && is("ExistingKeys") == "retire" {
		wider("keys that keyrot did not create may be replaced")
	}
	return all
}

func selectsAll(p map[string]string) bool { return p["AllUsers"] == "true" }

// moreUsers says which users are selected that are not now.
func moreUsers(old, now map[string]string) []string {
	if selectsAll(now) {
		return []string{"every user of the account is rotated"}
	}
	var all []string
	if more := missingFrom(old["UserNames"], now["UserNames"]); len(more) > 0 {
		all = append(all, "users "+strings.Join(more, ", ")+" are rotated")
	}
	path, tag := now["UserPath"], now["UserTag"]
	hadRule := old["UserPath"] != "" || old["UserTag"] != ""
	switch {
	case path == "" && tag == "":
	case !hadRule, !strings.HasPrefix(path, old["UserPath"]), old["UserTag"] != "" && tag != old["UserTag"]:
		rule := []string{}
		if path != "" {
			rule = append(rule, "under "+path)
		}
		if tag != "" {
			rule = append(rule, "with the tag "+tag)
		}
		all = append(all, "all users "+strings.Join(rule, " and ")+" are rotated")
	}
	return all
}

func items(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// networks returns the items of a parameter of type list, which moto answers as
// ['a', 'b'] where AWS answers a,b.
func networks(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", []'", r) })
}

// missingFrom returns the items of the second list that the first has not.
func missingFrom(list, of string) []string {
	return slices.DeleteFunc(items(of), func(item string) bool { return slices.Contains(items(list), item) })
}

// unmatchedBy returns the names and patterns that no pattern of the other list
// stands for. An empty list stands for all.
func unmatchedBy(list, patterns string) []string {
	if patterns == "" {
		return nil
	}
	names := items(list)
	if len(names) == 0 {
		names = []string{"*"}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(items(patterns), func(p string) bool {
			ok, err := path.Match(p, name)
			return p == name || p == "*" || ok && err == nil && !strings.ContainsAny(name, `*?[\`)
		})
	})
}

// outside returns the networks that are in none of the others.
func outside(list, others string) []string {
	return slices.DeleteFunc(networks(list), func(item string) bool {
		in, err := netip.ParsePrefix(item)
		return err == nil && slices.ContainsFunc(networks(others), func(n string) bool {
			out, err := netip.ParsePrefix(n)
			return err == nil && out.Bits() <= in.Bits() && out.Contains(in.Addr())
		})
	})
}
