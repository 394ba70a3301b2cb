package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// others are variables that are no key of the configuration.
var others = []string{
	"KEYROT_CONFIG", "KEYROT_API_KEY", "KEYROT_CACHE_DIR",
	"KEYROT_AGENT_SOCKET", "KEYROT_AGENT_USERS", "KEYROT_SEAL_KEY", "KEYROT_TRUSTED_GROUP",
}

// linked are the variables that Kubernetes and Docker make for a service whose
// name begins with keyrot.
var linked = regexp.MustCompile(`_SERVICE_(HOST|PORT(_.*)?)$|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_.*)?)?$|_ENV_|_NAME$`)

// environ reports variables that were meant as settings and are none: they
// are spelt like a key, or have the name of a group of keys. What else begins
// with KEYROT_ may be somebody's own.
func environ(names []string, known []key, getenv func(string) string) error {
	if names == nil {
		return nil
	}
	var errs []error
	var variables, groups []string
	for _, k := range known {
		name := EnvName(k.name)
		if k.list {
			if getenv(name) != "" {
				errs = append(errs, fmt.Errorf("environment: %s: %s is a list of groups, which only a file can hold", name, k.name))
			}
			groups = append(groups, name)
			continue
		}
		variables = append(variables, name)
		if i := strings.LastIndexByte(k.name, '.'); i > 0 {
			groups = append(groups, EnvName(k.name[:i]))
		}
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
		case slices.ContainsFunc(groups, func(g string) bool { return strings.HasPrefix(name, g+"_") }) && !linked.MatchString(name):
			errs = append(errs, fmt.Errorf("environment: %s is not a setting", name))
		}
	}
	return errors.Join(errs...)
}

// squeeze makes names equal that are easily mistaken for each other.
func squeeze(name string) string {
	return strings.TrimSuffix(strings.ReplaceAll(strings.ToUpper(name), "_", ""), "S")
}
