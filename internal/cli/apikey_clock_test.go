package cli

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/auth"
)

// TestAPIKeysAreDatedByAWSsClock: a daemon judges by that clock when they end.
func TestAPIKeysAreDatedByAWSsClock(t *testing.T) {
	for name, off := range map[string]time.Duration{ // of this machine's clock
		"10 min behind": -10 * time.Minute, "10 min ahead": 10 * time.Minute, "a day behind": -24 * time.Hour, "a day ahead": 24 * time.Hour,
	} {
		for _, reachable := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				e, _, errs := testEnv(t, nil)
				e.Now = func() time.Time { return time.Now().Add(ahead + off) }
				sdk, _ := datedAWS(t)
				url, want := *sdk.BaseEndpoint, ahead
				if !reachable { // then this machine's clock has to do
					url, want = "http://127.0.0.1:1", ahead+off
				}
				for k, v := range map[string]string{"AWS_REGION": sdk.Region, "AWS_ENDPOINT_URL": url, "AWS_MAX_ATTEMPTS": "1"} {
					t.Setenv(k, v)
				}
				o := apiKeyCreateOptions{common: common{File: os.DevNull}, Users: []string{"ci"}, Role: string(auth.Reader), Expires: "2h", Init: true}
				if err := e.createKey(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				var k auth.Key
				read := func(keys *auth.Keys, _ config.Store) error {
					all, err := keys.List(t.Context())
					if err == nil {
						k = all[0]
					}
					return err
				}
				if err := e.withKeys(t.Context(), o.common, keyJob{}, read); err != nil {
					t.Fatal(err)
				}
				if err := e.rotateKey(t.Context(), o.common, k.ID, "1h"); err != nil {
					t.Fatal(err)
				}
				if err := e.withKeys(t.Context(), o.common, keyJob{}, read); err != nil {
					t.Fatal(err)
				}
				at := time.Now().Add(want)
				for what, x := range map[string]time.Time{"made": k.Created, "good until": k.Expires.Add(-2 * time.Hour), "its old secret": k.Former[0].Until.Add(-time.Hour)} {
					if x.Sub(at).Abs() > 10*time.Second {
						t.Errorf("%s is %s away from the clock that decides, which answers: %t", what, x.Sub(at), reachable)
					}
				}
				if warned := strings.Contains(errs.String(), "could not be asked for the time"); warned == reachable {
					t.Errorf("AWS answers: %t; stderr is %q", reachable, errs)
				}
			})
		}
	}
}
