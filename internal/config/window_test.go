package config

import (
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

func TestWindows(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time { // 2026-11-02 is a Monday
		v, err := time.Parse("2006-01-02 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	office := Window{Days: []string{"mon-fri"}, From: "09:00", To: "17:30", Zone: "Europe/Berlin"}
	night := Window{Days: []string{"fri"}, From: "22:00", To: "06:00"}
	tests := []struct {
		name string
		w    Window
		user string
		now  string
		want bool
	}{
		{"inside", office, "ci", "2026-11-02 12:00", true},
		{"it begins in its own zone", office, "ci", "2026-11-02 08:00", true},
		{"before it begins", office, "ci", "2026-11-02 07:59", false},
		{"it ends", office, "ci", "2026-11-02 16:30", false},
		{"not on Sunday", office, "ci", "2026-11-08 12:00", false},
		{"over midnight, before", night, "ci", "2026-11-06 23:00", true},
		{"over midnight, after", night, "ci", "2026-11-07 05:59", true},
		{"over midnight, ended", night, "ci", "2026-11-07 06:00", false},
		{"the night before does not count", night, "ci", "2026-11-06 05:00", false},
		{"a whole day", Window{Days: []string{"sat", "sun"}}, "ci", "2026-11-07 00:00", true},
		{"a range over the end of the week", Window{Days: []string{"fri-mon"}}, "ci", "2026-11-08 10:00", true},
		{"other users", Window{Users: []string{"vendor-*"}}, "ci", "2026-11-08 10:00", false},
		{"these users", Window{Users: []string{"vendor-*"}}, "vendor-acme", "2026-11-08 10:00", true},
	}
	for _, tt := range tests {
		c := Config{Schedule: Schedule{Preset: "default"}, Windows: []Window{tt.w}}
		p := c.PolicyAt(func() time.Time { return at(tt.now) })(tt.user)
		if got := p.Frozen == plan.IsFrozen; got != tt.want {
			t.Errorf("%s: frozen = %v, want %v", tt.name, got, tt.want)
		}
	}
	for _, bad := range []struct {
		w    Window
		want string
	}{
		{Window{Days: []string{"someday"}}, "windows[0].days"},
		{Window{From: "9", To: "17:00"}, "windows[0].from"},
		{Window{From: "09:00"}, "windows[0].to"},
		{Window{}, "windows[0].from: the window never closes"},
		{Window{From: "03:00", To: "03:00", Days: []string{"mon-sun"}}, "windows[0].from: the window never closes"},
		{Window{Zone: "Mars/Olympus"}, "windows[0].zone"},
		{Window{Users: []string{"["}}, "windows[0].users"},
	} {
		c := Config{Windows: []Window{bad.w}}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("Validate() of %+v = %v, want it to name %s", bad.w, err, bad.want)
		}
	}
}
