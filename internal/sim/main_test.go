package sim

import (
	"os"
	rt "runtime/debug"
	"testing"
)

// TestMain lets garbage lie for longer: it is made fast, and little is kept.
func TestMain(m *testing.M) {
	rt.SetGCPercent(800)
	os.Exit(m.Run())
}
