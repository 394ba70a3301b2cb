package page

import (
	"html"
	"strconv"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/printable"
)

// node is a piece of a document. There is no way to make one out of a string
// that is not escaped (html/template would do it too, and make the linker keep
// every exported method of the program: docs/adr/0006-mail-templates.md).
type node interface{ write(b *strings.Builder) }

// text is escaped when it is written, and what would reverse or hide text is
// written out.
type text string

func (t text) write(b *strings.Builder) { b.WriteString(html.EscapeString(printable.Text(string(t)))) }

// group is several nodes.
type group []node

func (g group) write(b *strings.Builder) {
	for _, n := range g {
		if n != nil {
			n.write(b)
		}
	}
}

// at is attributes: names, which are constants, and values in turn.
type at []string

// element is a tag. Its name is a constant.
type element struct {
	name  string
	attrs at
	kids  group
}

func el(name string, attrs at, kids ...node) element { return element{name, attrs, kids} }

// void are the elements that have no end tag.
var void = map[string]bool{"meta": true, "link": true, "input": true, "br": true}

func (e element) write(b *strings.Builder) {
	b.WriteString("<" + e.name)
	for i := 0; i+1 < len(e.attrs); i += 2 {
		b.WriteString(" " + e.attrs[i] + `="` + html.EscapeString(printable.Text(e.attrs[i+1])) + `"`)
	}
	b.WriteByte('>')
	if void[e.name] {
		return
	}
	e.kids.write(b)
	b.WriteString("</" + e.name + ">")
}

func render(n node) string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

// when shows an instant. The script words it relative to now where there is
// one; without it the absolute time remains.
func when(t time.Time) node { return relativeTime(t, "") }

// due shows an instant that something is planned for. If it passes, that does
// not make it an instant of the past: whatever is planned has not happened.
func due(t time.Time) node { return relativeTime(t, "due") }

// since shows how long something has lasted.
func since(t time.Time) node {
	n := relativeTime(t, "since").(element) //nolint:forcetypeassert // t is known
	n.kids = append(group{text("since ")}, n.kids...)
	return n
}

func relativeTime(t time.Time, kind string) node {
	if t.IsZero() {
		return text("–")
	}
	t = t.UTC()
	full := t.Format("2 Jan 2006 15:04:05 MST")
	return el("time", at{"datetime", t.Format(time.RFC3339), "title", full, "data-relative", kind}, text(t.Format("15:04:05 MST")))
}

// clock shows an instant as it is.
func clock(t time.Time) node {
	t = t.UTC()
	return el("time", at{"datetime", t.Format(time.RFC3339), "title", t.Format("2 Jan 2006 15:04:05 MST")}, text(t.Format("15:04:05")))
}

func px(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// percent writes a share of the width, good to a pixel on wide screens.
func percent(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(100*f, 'f', 2, 64), ".00") + "%"
}
