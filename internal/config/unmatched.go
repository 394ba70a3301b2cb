package config

import (
	"fmt"
	"path"
	"slices"
)

// Unmatched returns a sentence for each name or pattern that meets none of the
// selected users: such an entry does nothing, which is hardly what it is for.
// Exclusions that exclude nobody are found where users are selected.
func (c Config) Unmatched(selected []string) []string {
	var all []string
	look := func(key string, patterns ...string) {
		for _, p := range patterns {
			if !slices.ContainsFunc(selected, func(user string) bool { ok, err := path.Match(p, user); return ok && err == nil }) {
				all = append(all, fmt.Sprintf("%s: %q matches no selected user", key, p))
			}
		}
	}
	for i, o := range c.Overrides {
		look(fmt.Sprintf("overrides[%d].name", i), o.Name)
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
