package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// named is the key that a problem begins with, as Validate and viper write it.
var named = regexp.MustCompile(`^(?:configuration: )?'?([a-z][a-z0-9_.\[\]]*[a-z0-9_\]])`)

// Locate says where each of the problems that err joins comes from: the file and
// the line of the key that it begins with, or the variable. What is of a flag or
// a default stays as it is. nil stays.
func (src Source) Locate(err error) error {
	if err == nil {
		return nil
	}
	name, raw, unread := find(src)
	if unread != nil {
		return err
	}
	_, lines, _ := read(name, raw)
	var all []error
	for _, problem := range problems(err) {
		m := named.FindStringSubmatch(problem.Error())
		key := ""
		if m != nil {
			key = m[1]
		}
		_, flag := src.Flags[key]
		switch line := lines[key]; {
		case flag, m == nil:
		case src.Getenv(EnvName(key)) != "":
			problem = fmt.Errorf("environment: %s: %w", EnvName(key), problem)
		case line > 0:
			problem = fmt.Errorf("%s line %d: %w", name, line, problem)
		}
		all = append(all, problem)
	}
	return errors.Join(all...)
}

// problems are the errors that err joins.
func problems(err error) (all []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var texts []string
	for _, e := range joined.Unwrap() {
		all = append(all, problems(e)...)
		texts = append(texts, e.Error())
	}
	if strings.Join(texts, "\n") != err.Error() {
		return []error{err}
	}
	return all
}
