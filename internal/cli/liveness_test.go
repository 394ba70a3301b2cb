package cli

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestProcessesKnowEachOther: whoever acts on a store's file is known beside it as
// long as it does, and is told who is gone. If it cannot be known, it says so, and
// goes on by a name that nobody takes for gone.
func TestProcessesKnowEachOther(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, folder string){
		"the folder can be made": nil,
		"it cannot": func(t *testing.T, folder string) {
			t.Helper()
			if err := os.WriteFile(folder, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _, errs := testEnv(t, nil)
			e.Now = time.Now
			cfg, err := e.loadValid(common{File: os.DevNull, Flags: map[string]any{"users.names": "ci"}})
			if err != nil {
				t.Fatal(err)
			}
			folder := cfg.Store.Path + ".owners"
			if err := os.MkdirAll(filepath.Dir(folder), 0o700); err != nil {
				t.Fatal(err)
			}
			if spoil != nil {
				spoil(t, folder)
			}
			s, err := open(t.Context(), e, cfg, cloud{IAM: &rotatetest.AWS{}, Clock: rotatetest.Clock(), Quick: true})
			if err != nil {
				t.Fatal(err)
			}
			if spoil != nil {
				if s.rotator.Owner != "" || s.rotator.Dead != nil || !strings.Contains(errs.String(), "others wait for up to a minute") {
					t.Errorf("owner %q, told: %s", s.rotator.Owner, errs)
				}
				return
			}
			own := filepath.Join(folder, url.PathEscape(s.rotator.Owner))
			if _, err := os.Stat(own); err != nil {
				t.Errorf("this process is not known: %v", err)
			}
			if err := os.WriteFile(filepath.Join(folder, "host%2F1%2Fgone"), nil, 0o600); err != nil { // and not locked
				t.Fatal(err)
			}
			if s.rotator.Dead == nil || !slices.Equal(s.rotator.Dead(), []string{"host/1/gone"}) {
				t.Error("this process is not told who is gone")
			}
			if err := s.close(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(own); !os.IsNotExist(err) {
				t.Errorf("this process is still known after it has ended: %v", err)
			}
		})
	}
}
