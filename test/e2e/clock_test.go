//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/client"
)

// TestClock runs the built binary on a machine whose clock is not AWS's, from
// the start or from the middle of the run on. Consumers' clocks are AWS's: what
// they use until its Expiration is never refused, and users keep rotating.
func TestClock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	tests := []struct {
		name  string
		shift []time.Duration // of AWS's clock, one after the other
	}{
		{"a machine a minute behind, then as one that was suspended for ten minutes and for a day", []time.Duration{time.Minute, 11 * time.Minute, day}},
		{"a machine a minute ahead, before an AWS that corrects itself by ten minutes", []time.Duration{-time.Minute, -11 * time.Minute}},
		{"a machine ten minutes behind, before an AWS that corrects itself by a minute", []time.Duration{10 * time.Minute, 9 * time.Minute}},
		{"a machine ten minutes ahead, then as one that was suspended for a minute", []time.Duration{-10 * time.Minute, -9 * time.Minute}},
		{"a machine a day behind, before an AWS that corrects itself by a day", []time.Duration{day, 0}},
		{"a machine a day ahead, then as one that was suspended for a day", []time.Duration{-day, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, skew := onSkewed(t)
			skew.Shift(tt.shift[0])
			s.serve()
			for i, shift := range tt.shift {
				skew.Shift(shift)
				if i > 0 && shift < tt.shift[i-1] {
					// What was promised by the earlier dates is kept, and the user
					// waits for that. No more than that is promised.
					s.work(0, func(context.Context) { time.Sleep(20 * time.Second) })
					continue
				}
				s.work(s.seen()+4, nil)
				s.until(func() error { return s.status(skew) })
			}
			s.Stop()
			if out, err := s.Run(t.Context(), "audit", "verify"); err != nil {
				t.Errorf("the audit log: %v\n%s", err, out)
			}
		})
	}
}

// until asks again and again until all is well: a user is overdue now and then
// on a machine that is slow.
func (s *scene) until(well func() error) {
	s.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err = well(); err == nil {
			return
		}
	}
	s.t.Error(err)
}

// status holds what the commands print against AWS's clock.
func (s *scene) status(skew *Skew) error {
	out, err := s.Run(s.t.Context(), "status", "-o", "json")
	if err != nil {
		return err
	}
	var all []struct {
		User    string
		Next    time.Time
		Overdue bool
	}
	if err := json.Unmarshal(out, &all); err != nil {
		return err
	}
	for _, u := range all {
		if off := u.Next.Sub(skew.Now()); u.Overdue || off.Abs() > time.Minute {
			return fmt.Errorf("status: %s overdue: %v, next look %s from now by AWS's clock", u.User, u.Overdue, off)
		}
	}
	if out, err = s.Run(s.t.Context(), "status"); err != nil {
		return err
	}
	if !bytes.Contains(out, []byte("ok, next look in ")) {
		return fmt.Errorf("status: %s", out)
	}
	for line := range strings.Lines(string(out)) {
		if _, after, ok := strings.Cut(line, "next look in "); ok && strings.ContainsAny(after, "hd") {
			return fmt.Errorf("status: %s", line)
		}
	}
	return nil
}

// onSkewed is a scene before an AWS with a clock of its own.
func onSkewed(t *testing.T) (*scene, *Skew) {
	t.Helper()
	s, v := versity(t, "app", "batch")
	skew := NewSkew(v.IAM.URL, v.Root)
	t.Cleanup(skew.Server.Close)
	s.Env = append(s.Env, "AWS_ENDPOINT_URL_IAM="+skew.Server.URL, "AWS_ENDPOINT_URL_STS="+skew.Server.URL)
	s.now = skew.Now
	clients := map[string]*client.Client{}
	s.get = func(ctx context.Context, user string) (Pair, error) {
		s.mu.Lock()
		c := clients[user]
		if c == nil {
			c = &client.Client{Endpoint: s.server.URL, APIKey: s.Key, Now: skew.Now}
			clients[user] = c
		}
		s.mu.Unlock()
		got, err := c.Credential(ctx, user)
		if err != nil {
			return Pair{}, err
		}
		return Pair{AccessKeyId: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, UserName: user, Expiration: got.Expiration}, nil
	}
	return s, skew
}
