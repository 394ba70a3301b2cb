package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// others are variables that are no key of the configuration: those of the
// deployed functions and of programs that keyrot starts, too, and the one that
// container images are built with.
var others = []string{
	"KEYROT_CONFIG", "KEYROT_API_KEY", "KEYROT_CACHE_DIR",
	"KEYROT_AGENT_SOCKET", "KEYROT_AGENT_USERS", "KEYROT_SEAL_KEY", "KEYROT_TRUSTED_GROUP",
	"KEYROT_FUNCTION", "KEYROT_API_SECRET", "KEYROT_API_USERS", "KEYROT_SIGNING", "KEYROT_VERSION",
}

// linked are the variables that Kubernetes and Docker make for a service whose
// name begins with keyrot.
var linked = regexp.MustCompile(`_SERVICE_(HOST|PORT(_.*)?)$|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_.*)?)?$|_ENV_|_NAME$`)

// environ reports variables that begin with KEYROT_ and are no settings, as
// unknown keys of the file are: a misspelt one would silently do nothing.
func environ(names []string, known []key, getenv func(string) string) error {
	others := slices.Clone(others)
	if names == nil {
		return nil
	}
	var errs []error
	var variables []string
	for _, k := range known {
		name := EnvName(k.name)
		if k.list {
			if getenv(name) != "" {
				errs = append(errs, fmt.Errorf("environment: %s: %s is a list of groups, which only a file can hold", name, k.name))
			}
			others = append(others, name)
			continue
		}
		variables = append(variables, name)
	}
	for _, name := range names {
		name, _, _ = strings.Cut(name, "=")
		if !strings.HasPrefix(name, "KEYROT_") || slices.Contains(variables, name) || slices.Contains(others, name) || getenv(name) == "" {
			continue
		}
		like := slices.IndexFunc(variables, func(v string) bool { return squeeze(v) == squeeze(name) })
		switch {
		case like >= 0:
			errs = append(errs, fmt.Errorf("environment: %s is not a setting; write %s", name, variables[like]))
		case !linked.MatchString(name):
			errs = append(errs, fmt.Errorf("environment: %s is not a setting; the variable of a key is KEYROT_ and the key in capitals, "+
				"with _ for the dot", name))
		}
	}
	return errors.Join(errs...)
}

// squeeze makes names equal that are easily mistaken for each other.
func squeeze(name string) string {
	return strings.TrimSuffix(strings.ReplaceAll(strings.ToUpper(name), "_", ""), "S")
}
