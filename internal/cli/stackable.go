package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyrot/keyrot/internal/config"
)

// Keys that have nothing to do with what a stack does: how commands on this
// machine find a server, how they log, and where they keep files, for which a
// stack has its table.
var notTheStacks = []string{
	"store.path", "store.key_file", "audit.path", "audit.exports",
	"endpoint", "api_key_file", "identity", "oidc_token_file", "sign_for", "ca_file", "log.level", "log.format",
}

// instead says how a stack is told what a key says to a daemon.
var instead = map[string]string{
	"overrides": "a stack has one schedule; use a stack for each",

	"audit.keep":    `the log in a stack's table is pruned by "keyrot audit prune --stack" only; give it --keep`,
	"handouts.keep": "a stack keeps them for 90 days",

	"notify.ses.from": "give --sender-email", "notify.ses.to": "give --admin-email",
	"server.caller_rate": "change the parameters ApiRate and ApiBurst of the stack",
}

// stackKeys are the keys that deploy hands to a stack.
func stackKeys() []string {
	keys := []string{"store.table", "store.kms_key"}
	for _, k := range knobs {
		keys = append(keys, k.key)
	}
	return keys
}

// unstackable returns an error for every setting that a stack would not keep:
// what cannot be done is refused by name, not dropped.
func unstackable(cfg config.Config, getenv func(string) string) []error {
	known := append(stackKeys(), notTheStacks...)
	var errs []error
	for _, name := range cfg.Users.Names {
		if strings.Contains(name, ",") {
			errs = append(errs, fmt.Errorf("users.names: %q: a stack takes a comma for the end of a name; select the user by its path or tag", name))
		}
	}
	for _, key := range cfg.Changed(getenv) {
		if slices.Contains(known, key) {
			continue
		}
		how := instead[key]
		if how == "" {
			how = "leave it out, or deploy with a configuration of its own (--config)"
		}
		errs = append(errs, fmt.Errorf("%s: a stack cannot do this; %s", key, how))
	}
	return errs
}

// groups are keys that only make sense together: if one of a group is given
// anew, the stack's others do not stay.
var groups = [][]string{
	{"users.names", "users.path_prefix", "users.tag", "users.all"},
	{"schedule", "rotate_every", "deactivate_after", "delete_after"},
}

// keptSettings returns those of a stack's settings that stay because nothing new
// was said about them.
func keptSettings(settings map[string]any, given []string) map[string]any {
	kept := map[string]any{}
	for key, value := range settings {
		regrouped := slices.ContainsFunc(groups, func(group []string) bool {
			return slices.Contains(group, key) && slices.ContainsFunc(group, func(k string) bool { return slices.Contains(given, k) })
		})
		if !regrouped && !strings.HasPrefix(key, "store.") {
			kept[key] = value
		}
	}
	return kept
}
