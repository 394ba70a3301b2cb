package auth

import "testing"

// TestACacheThatIsFullLosesOne and not everything.
func TestACacheThatIsFullLosesOne(t *testing.T) {
	t.Parallel()
	const most = 10
	var m map[int]bool
	for i := range 3 * most {
		m = makeRoom(m, i, most)
		m[i] = true
		if want := min(i+1, most); len(m) != want || !m[i] {
			t.Fatalf("after %d entries there are %d, want %d and the last one", i+1, len(m), want)
		}
	}
	if m = makeRoom(m, 3*most-1, most); len(m) != most {
		t.Errorf("an entry that is there already costs another one: %d are left", len(m))
	}
}
