//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// wait waits until IAM's list and keyrot's status agree on the user.
func (s *scene) wait(user string) {
	s.t.Helper()
	var err error
	for range 100 {
		if err = s.agree(user); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Error(err)
}

// agree compares IAM's list with keyrot's status.
func (s *scene) agree(user string) error {
	list, err := s.admin.ListAccessKeys(s.t.Context(), &iam.ListAccessKeysInput{UserName: &user})
	if err != nil {
		return err
	}
	var inIAM, inStore []string
	for _, k := range list.AccessKeyMetadata {
		id := *k.AccessKeyId
		inIAM = append(inIAM, id[:4]+id[len(id)-2:])
	}
	out, err := s.Run(s.t.Context(), "status", "-o", "json")
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
	for _, u := range status {
		if u.User == user {
			found = nil
			for _, k := range u.Keys {
				inStore = append(inStore, strings.ReplaceAll(k.Key, "…", ""))
			}
		}
	}
	if found == nil && !sameSet(inIAM, inStore) {
		return fmt.Errorf("orphans die: IAM lists %v for %s, keyrot knows %v", inIAM, user, inStore)
	}
	return found
}

func sameSet(a, b []string) bool {
	m := map[string]int{}
	for _, x := range a {
		m[x]++
	}
	for _, x := range b {
		m[x]--
	}
	for _, n := range m {
		if n != 0 {
			return false
		}
	}
	return true
}
