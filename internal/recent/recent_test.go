package recent_test

import (
	"testing"

	"github.com/keyrot/keyrot/internal/recent"
)

func TestMap(t *testing.T) {
	t.Parallel()
	m := recent.Map[string, int]{Max: 3}
	for i, k := range []string{"a", "b", "c"} {
		m.Put(k, i)
	}
	m.Put("a", 9) // is the newest now
	m.Put("d", 4)
	for k, want := range map[string]int{"a": 9, "c": 2, "d": 4} {
		if got, ok := m.Get(k); !ok || got != want {
			t.Errorf("Get(%s) = %d, %t, want %d", k, got, ok, want)
		}
	}
	if _, ok := m.Get("b"); ok || m.Len() != 3 {
		t.Errorf("the oldest is there still, or others are not: %d values", m.Len())
	}
	m.DropOldest(func(v int) bool { return v != 4 })
	if _, ok := m.Get("d"); !ok || m.Len() != 1 {
		t.Errorf("after DropOldest there are %d values, want the one that is not over", m.Len())
	}
	m.Drop("d")
	m.Drop("d")
	if m.Len() != 0 {
		t.Errorf("after Drop there are %d values", m.Len())
	}
}
