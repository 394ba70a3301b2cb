package config

import (
	"fmt"
	"path"
)

// Unmatched returns a sentence for each name or pattern that meets none of the
// selected users: such an entry does nothing, which is hardly what it is for.
// Exclusions that exclude nobody are found where users are selected.
func (c Config) Unmatched(selected []string) []string {
	var all []string
	look := func(key string, patterns ...string) {
		for _, p := range patterns {
			if len(matching(selected, p)) == 0 {
				all = append(all, fmt.Sprintf("%s: %q matches no selected user", key, p))
			}
		}
	}
	for i, o := range c.Overrides {
		look(fmt.Sprintf("overrides[%d].name", i), o.Name)
		meant := matching(selected, o.Name)
		for j, before := range c.Overrides[:i] {
			if len(meant) > 0 && len(matching(meant, before.Name)) == len(meant) {
				all = append(all, fmt.Sprintf("overrides[%d].name: %q does nothing: overrides[%d] comes first and matches the same users", i, o.Name, j))
				break
			}
		}
	}
	for i, w := range c.Windows {
		look(fmt.Sprintf("windows[%d].users", i), w.Users...)
	}
	for i, t := range c.Publish {
		look(fmt.Sprintf("publish[%d].users", i), t.Users...)
	}
	for i, id := range c.Server.Identities {
		look(fmt.Sprintf("server.identities[%d].users", i), id.Users...)
	}
	return all
}

// matching returns the users that the pattern matches.
func matching(users []string, pattern string) (all []string) {
	for _, user := range users {
		if ok, err := path.Match(pattern, user); ok && err == nil {
			all = append(all, user)
		}
	}
	return all
}
