package notify

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/printable"
	"github.com/keyrot/keyrot/templates/mail"
)

// Message is what a channel sends.
type Message struct {
	ID        string    `json:"id"` // the same for every attempt
	Subject   string    `json:"subject"`
	At        time.Time `json:"at"`
	Items     []Item    `json:"items,omitempty"`
	More      int       `json:"more,omitempty"` // digest: problems or users that are not listed
	Since     time.Time `json:"since,omitzero"` // digest: from when
	Rotations int       `json:"rotations,omitempty"`
	Counts    []Count   `json:"counts,omitempty"` // digest: by user
}

// Count is how often a user's key was rotated.
type Count struct {
	User      string `json:"user"`
	Rotations int    `json:"rotations"`
}

// label words the kind of an item, with its colour.
var labels = map[Kind][2]string{
	Trouble: {"Problem", "#c62828"}, Over: {"Resolved", "#2e7d32"},
	Change: {"Change", "#b26a00"}, Rotation: {"Rotated", "#1565c0"},
}

func prefix(instance string) string {
	if instance == "" {
		return "[keyrot] "
	}
	return "[keyrot " + instance + "] "
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// subject says what happened to whom, worst first.
func subject(instance string, items []Item) string {
	first := items[0]
	var users []string
	counts, seen := map[Kind]int{}, map[string]bool{}
	alike := true
	for _, it := range items {
		counts[it.Kind]++
		alike = alike && it.Kind == first.Kind && it.Title == first.Title
		if it.User != "" && !seen[it.User] {
			seen[it.User] = true
			users = append(users, it.User)
		}
	}
	s := first.Title
	if first.Kind == Over {
		s = "resolved: " + s
	}
	if !alike {
		s = ""
		for _, k := range []Kind{Trouble, Change, Over, Rotation} {
			if c := counts[k]; c > 0 {
				s += ", " + plural(c, map[Kind]string{Trouble: "problem", Change: "change", Over: "resolved problem", Rotation: "rotation"}[k])
			}
		}
		s = strings.TrimPrefix(s, ", ")
	}
	switch {
	case len(users) == 1:
		s = users[0] + ": " + s
	case len(users) > 1 && len(users) <= 3:
		s = strings.Join(users, ", ") + ": " + s
	case len(users) > 3:
		s = plural(len(users), "user") + ": " + s
	}
	return prefix(instance) + s
}

// detailed are the items that a message tells in full.
func (m Message) detailed() []Item { return m.Items[:min(len(m.Items), maxItems)] }

// named are the other items: what happened, and the users that it happened to.
func (m Message) named() (groups []group) {
	at := map[[2]string]int{}
	for _, it := range m.Items[len(m.detailed()):] {
		key := [2]string{labels[it.Kind][0], it.Title}
		i, known := at[key]
		if !known {
			i, at[key] = len(groups), len(groups)
			groups = append(groups, group{label: key[0], title: key[1]})
		}
		groups[i].users = append(groups[i].users, cmp.Or(it.User, "keyrot"))
	}
	return groups
}

// group is one thing that happened to several users.
type group struct {
	label, title string
	users        []string
}

// Text is the message as plain text.
func (m Message) Text() string {
	var b strings.Builder
	b.WriteString(m.Subject + "\n")
	if !m.Since.IsZero() {
		fmt.Fprintf(&b, "\n%s since %s.\n", plural(m.Rotations, "rotation"), stamp(m.Since))
	}
	for _, it := range m.detailed() {
		fmt.Fprintf(&b, "\n%s  %s%s\n", strings.ToUpper(labels[it.Kind][0]), who(it), it.Title)
		for _, line := range []string{it.Text, it.Do} {
			if line != "" {
				b.WriteString("  " + line + "\n")
			}
		}
		b.WriteString("  " + facts(it) + "\n")
	}
	for _, g := range m.named() {
		fmt.Fprintf(&b, "\n%s  %s: %s\n", strings.ToUpper(g.label), g.title, strings.Join(g.users, ", "))
	}
	if len(m.Counts) > 0 {
		b.WriteString("\nRotations by user:\n")
		for _, c := range m.Counts {
			fmt.Fprintf(&b, "  %6d  %s\n", c.Rotations, c.User)
		}
	}
	if m.More > 0 {
		fmt.Fprintf(&b, "\n… and %d more; see \"keyrot status\".\n", m.More)
	}
	return fill(mail.Text, map[string]string{"BODY": printable.Text(b.String()), "ID": m.ID})
}

// HTML is the message as a mail's rich part.
func (m Message) HTML() string {
	esc := func(s string) string { return html.EscapeString(printable.Text(s)) }
	var b strings.Builder
	intro := ""
	if !m.Since.IsZero() {
		intro = plural(m.Rotations, "rotation") + " since " + stamp(m.Since) + "."
		if len(m.Items) == 0 {
			intro += " No problem is open."
		}
	}
	for _, it := range m.detailed() {
		l := labels[it.Kind]
		detail := ""
		if it.Text != "" {
			detail += fill(mail.Detail, map[string]string{"TEXT": esc(it.Text)})
		}
		if it.Do != "" {
			detail += fill(mail.Advice, map[string]string{"TEXT": esc(it.Do)})
		}
		b.WriteString(fill(mail.Item, map[string]string{
			"LABEL": l[0], "COLOUR": l[1], "TITLE": esc(who(it) + it.Title), "DETAIL": detail, "FACTS": esc(facts(it)),
		}))
	}
	for _, g := range m.named() {
		b.WriteString(fill(mail.More, map[string]string{"TEXT": esc(g.label + ": " + g.title + ": " + strings.Join(g.users, ", "))}))
	}
	if len(m.Counts) > 0 {
		most := slices.MaxFunc(m.Counts, func(a, b Count) int { return a.Rotations - b.Rotations }).Rotations
		var rows strings.Builder
		for _, c := range m.Counts {
			rows.WriteString(fill(mail.Row, map[string]string{
				"USER": esc(c.User), "COUNT": strconv.Itoa(c.Rotations), "WIDTH": strconv.Itoa(max(1, 100*c.Rotations/max(1, most))),
			}))
		}
		b.WriteString(fill(mail.Counts, map[string]string{"ROWS": rows.String()}))
	}
	if m.More > 0 {
		b.WriteString(fill(mail.More, map[string]string{"TEXT": esc(fmt.Sprintf("… and %d more; see “keyrot status”.", m.More))}))
	}
	colour := "#1565c0"
	if len(m.Items) > 0 {
		colour = labels[m.Items[0].Kind][1]
	}
	return fill(mail.HTML, map[string]string{
		"SUBJECT": esc(m.Subject), "HEADING": esc(heading(m.Subject)), "INTRO": esc(intro), "COLOUR": colour,
		"BODY": b.String(), "AT": esc(stamp(m.At)), "ID": esc(m.ID),
	})
}

// heading is the subject without its prefix.
func heading(subject string) string {
	if _, rest, ok := strings.Cut(subject, "] "); ok {
		return rest
	}
	return subject
}

func who(it Item) string {
	if it.User == "" {
		return ""
	}
	return it.User + ": "
}

// facts is the small print of an item.
func facts(it Item) string {
	s := stamp(it.At)
	if it.Key != "" {
		s += " · key " + it.Key
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05 MST") }

// fill replaces {{NAME}} in one sweep: what is filled in is not looked at
// again. Values for HTML are escaped by the caller.
func fill(text string, values map[string]string) string {
	var pairs []string
	for name, v := range values {
		pairs = append(pairs, "{{"+name+"}}", v)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
