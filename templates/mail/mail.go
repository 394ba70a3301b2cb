// Package mail holds the texts of keyrot's mails. They are filled in by
// pkg/notify: {{NAME}} stands for a value. html/template is not used, because
// it makes the linker keep every exported method of the program
// (docs/adr/0006-mail-templates.md).
package mail

import _ "embed"

// The frames of a mail.
var (
	//go:embed message.html
	HTML string // SUBJECT HEADING INTRO COLOUR BODY AT ID
	//go:embed message.txt
	Text string // BODY ID
)

// The parts of the body of HTML.
var (
	//go:embed item.html
	Item string // LABEL COLOUR TITLE DETAIL FACTS
	//go:embed detail.html
	Detail string // TEXT
	//go:embed advice.html
	Advice string // TEXT
	//go:embed counts.html
	Counts string // ROWS
	//go:embed row.html
	Row string // USER COUNT WIDTH
	//go:embed more.html
	More string // TEXT
)
