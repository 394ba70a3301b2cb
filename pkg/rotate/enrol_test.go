package rotate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// crowdOf returns a house with n users in an IAM whose calls take so long.
func crowdOf(n int, latency time.Duration) *house {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("user-%03d", i)
	}
	h := newHouse(names...)
	h.aws.Latency = rotatetest.Delay{Min: latency, Max: latency}
	h.aws.Sleep = func(ctx context.Context, d time.Duration) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		}
	}
	return h
}

func TestManyUsersAreEnrolledInSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := crowdOf(500, 50*time.Millisecond)
		h.aws.Fault = func(op rotatetest.Op, user, _ string) rotatetest.Fault {
			if user == "user-003" && op == rotatetest.ListKeys {
				return rotatetest.Before
			}
			return rotatetest.None
		}
		h.run(t, 3*time.Second)
		es, err := h.store.List(t.Context())
		if err != nil || len(es) != 499 {
			t.Errorf("%d users were enrolled in 3 s, %v, want all but one", len(es), err)
		}
		if !strings.Contains(h.log.String(), `"user":"user-003"`) {
			t.Error("nothing says who could not be enrolled")
		}
	})
}

func TestALongEnrolmentTellsItsProgress(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := crowdOf(500, time.Second)
		h.run(t, time.Minute)
		var told []string
		for line := range strings.Lines(h.log.String()) {
			if _, rest, ok := strings.Cut(line, `"msg":"enrolling users","done":"`); ok {
				done, _, _ := strings.Cut(rest, `"`)
				told = append(told, done)
			}
		}
		if len(told) < 3 || !strings.Contains(told[0], " of 500, ") || !strings.HasSuffix(told[0], " left") || told[len(told)-1] != "500 of 500" {
			t.Errorf("the log says %q, want how many of 500 every 10 s, and that all are", told)
		}
	})
}
