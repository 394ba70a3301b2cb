//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// wait waits until IAM's list and keyrot's status agree on the user.
func (s *scene) wait(user string) {
	s.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = s.agree(user); err == nil {
			return
		}
	}
	s.t.Error(err)
}

// agree compares IAM's list with keyrot's status: what IAM has before and after
// keyrot is asked must be known to it, and what is known must be in IAM then.
func (s *scene) agree(user string) error {
	before, err := s.inIAM(user)
	if err != nil {
		return err
	}
	out, err := s.Run(s.t.Context(), "status", "-o", "json")
	if err != nil {
		return err
	}
	after, err := s.inIAM(user)
	if err != nil {
		return err
	}
	var status []struct {
		User string
		Keys []struct{ Key string }
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return err
	}
	found := errors.New("keyrot does not know " + user)
	var inStore []string
	for _, u := range status {
		if u.User == user {
			found = nil
			for _, k := range u.Keys {
				inStore = append(inStore, k.Key)
			}
		}
	}
	orphan := func(id string) bool { return slices.Contains(after, id) && !slices.Contains(inStore, id) }
	gone := func(id string) bool { return !slices.Contains(before, id) && !slices.Contains(after, id) }
	if found == nil && (slices.ContainsFunc(before, orphan) || slices.ContainsFunc(inStore, gone)) {
		return fmt.Errorf("orphans die: IAM lists %v, then %v for %s, keyrot knows %v", before, after, user, inStore)
	}
	return found
}

// inIAM lists the ids of the user's keys.
func (s *scene) inIAM(user string) (ids []string, err error) {
	list, err := s.admin.ListAccessKeys(s.t.Context(), &iam.ListAccessKeysInput{UserName: &user})
	if err != nil {
		return nil, err
	}
	for _, k := range list.AccessKeyMetadata {
		id := *k.AccessKeyId
		ids = append(ids, id)
	}
	return ids, nil
}
