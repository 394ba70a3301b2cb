//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// Stacks that are half made or half gone, with users in the table: cleanup
// leaves each one working key, and deploy takes the table over. moto has no
// such states, so that its answers are made to say so until the stack is
// deleted.
func TestDeployHalfMade(t *testing.T) {
	t.Parallel()
	pool := newFaultPool(t, 2)
	t.Run("states", func(t *testing.T) { // ends before the servers do
		for _, status := range []types.StackStatus{
			types.StackStatusReviewInProgress, types.StackStatusRollbackComplete, types.StackStatusRollbackFailed,
			types.StackStatusCreateFailed, types.StackStatusDeleteFailed,
		} {
			t.Run("cleanup "+string(status), func(t *testing.T) {
				t.Parallel()
				s := pool.take(t)
				defer pool.give(s)
				s.rotated()
				s.aws.Pretend(status)
				if r := s.run("cleanup", "--yes", "--delete-secrets", "--wait", "3m"); r.code != 0 {
					t.Fatal(r)
				}
				for what, want := range map[string]string{"stack": "", "keys of ann": "Active ", "keys of bob": "Active ", "tables": "0", "roles": "0", "KMS key": "PendingDeletion"} {
					if got := s.state()[what]; got != want {
						t.Errorf("%s: %q, want %q", what, got, want)
					}
				}
			})
			if status == types.StackStatusReviewInProgress {
				continue // it never had a table
			}
			t.Run("deploy "+string(status), func(t *testing.T) {
				t.Parallel()
				s := pool.take(t)
				defer pool.give(s)
				s.rotated()
				s.aws.Pretend(status)
				r := s.run(deployArgs()...)
				if r.code != 0 || !strings.Contains(r.talk, "taken over") {
					t.Fatal(r)
				}
				if got := s.state(); got["parameter ExistingTable"] != leftTable || got["parameter ExistingKmsKey"] != "KEY" || got["tables"] != "1" {
					t.Errorf("the new stack has table %q and key %q, of %s tables; want those of the old one", got["parameter ExistingTable"], got["parameter ExistingKmsKey"], got["tables"])
				}
			})
		}
	})
}
