package plan_test

import (
	"reflect"
	"testing"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

func TestWithDefaultsTwiceIsOnce(t *testing.T) {
	t.Parallel()
	for _, p := range []plan.Policy{{}, {Settle: -1}, {RotateEvery: 20e9, DeactivateAfter: 24e9, DeleteAfter: 30e9, Settle: -1}} {
		once := p.WithDefaults()
		if twice := once.WithDefaults(); !reflect.DeepEqual(twice, once) {
			t.Errorf("WithDefaults twice = %+v, want %+v", twice, once)
		}
	}
}
