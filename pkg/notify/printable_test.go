package notify_test

import (
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/notify"
)

// TestHostileTextIsWrittenOut: what others chose neither reverses nor hides
// what a message says.
func TestHostileTextIsWrittenOut(t *testing.T) {
	t.Parallel()
	m := notify.Message{Items: []notify.Item{{Kind: notify.Trouble, User: "ci\u202e", Title: "held", Text: "\x1b[2J\u200b", Do: "look"}}}
	for kind, body := range map[string]string{"text": m.Text(), "HTML": m.HTML()} {
		if strings.ContainsAny(body, "\u202e\x1b\u200b") || !strings.Contains(body, `ci\u202e`) || !strings.Contains(body, `\u001b[2J\u200b`) {
			t.Errorf("the message in %s does not write out what it should:\n%s", kind, body)
		}
	}
}
