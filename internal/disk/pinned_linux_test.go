package disk

import "testing"

func TestUnescape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`/a`: "/a", `/a\040b\134\012`: "/a b\\\n", `/a\`: `/a\`, `/a\9xy`: `/a\9xy`, `\303\274`: "ü",
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

// The file systems of this process are found, whatever they are.
func TestMountsOf(t *testing.T) {
	t.Parallel()
	for _, m := range mountsOf("self") {
		if m.at == "/" && m.device != "" && m.root != "" {
			return
		}
	}
	t.Errorf("mountsOf(self) = %v, want / among them", mountsOf("self"))
}
