package plan

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestAnErrorIsKeptInBrief(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, want string }{
		"a short one as it is":             {"throttled", "throttled"},
		"a page of HTML":                   {strings.Repeat("<p>", 100_000), strings.Repeat("<p>", 332) + "<…"},
		"whole characters of two bytes":    {"x" + strings.Repeat("é", 5000), "x" + strings.Repeat("é", 498) + "…"},
		"whole characters of four bytes":   {strings.Repeat("🔑", 5000), strings.Repeat("🔑", 249) + "…"},
		"bytes that are no characters":     {"\xff\xfe", "\uFFFD"},
		"exactly as long as it may become": {strings.Repeat("a", 1000), strings.Repeat("a", 1000)},
	} {
		got := Record{}.Failed(Policy{}, Step{Action: Wait}, tt.in, time.Unix(1, 0)).Error
		if got != tt.want || len(got) > 1000 || !utf8.ValidString(got) {
			t.Errorf("%s: Error = %d bytes %.20q…%q, want %d bytes", name, len(got), got, got[max(0, len(got)-12):], len(tt.want))
		}
	}
}
