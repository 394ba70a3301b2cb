package config

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/keyrot/keyrot/internal/sessmtp"
)

var targetTypes = []string{"secretsmanager", "ssm", "file", "hook", "webhook"}

// targetKeys says which keys belong to which types of targets. What one cannot
// use is refused: who gives it expects something of it.
var targetKeys = []struct {
	key      string
	types    []string
	required bool
	given    func(t Target) bool
}{
	{"secrets", []string{"secretsmanager"}, true, func(t Target) bool { return len(t.Secrets) > 0 }},
	{"parameter", []string{"ssm"}, true, func(t Target) bool { return t.Parameter != "" }},
	{"kms_key", []string{"ssm"}, false, func(t Target) bool { return t.KMSKey != "" }},
	{"properties", []string{"secretsmanager", "ssm"}, false, func(t Target) bool { return t.Properties != Properties{} }},
	{"path", []string{"file"}, true, func(t Target) bool { return t.Path != "" }},
	{"format", []string{"file"}, false, func(t Target) bool { return t.Format != "" }},
	{"text", []string{"file"}, false, func(t Target) bool { return t.Text != "" }},
	{"mode", []string{"file"}, false, func(t Target) bool { return t.Mode != "" }},
	{"owner", []string{"file"}, false, func(t Target) bool { return t.Owner != "" }},
	{"in_place", []string{"file"}, false, func(t Target) bool { return t.InPlace }},
	{"command", []string{"hook"}, true, func(t Target) bool { return len(t.Command) > 0 }},
	{"timeout", []string{"hook"}, false, func(t Target) bool { return t.Timeout != 0 }},
	{"url", []string{"webhook"}, true, func(t Target) bool { return t.URL != "" }},
	{"key_file", []string{"webhook"}, true, func(t Target) bool { return t.KeyFile != "" }},
}

func (t Target) validate(bad func(format string, args ...any)) {
	for _, u := range t.Users {
		if _, err := path.Match(u, ""); err != nil || u == "" {
			bad("users: %q is a malformed pattern", u)
		}
	}
	if t.Timeout < 0 || t.Timeout > longestHook {
		bad("timeout: %s is not within 0s and %s", t.Timeout, longestHook)
	}
	if !slices.Contains(targetTypes, t.Type) {
		bad("type: %q is not one of %s", t.Type, strings.Join(targetTypes, ", "))
		return
	}
	if t.Region != "" && !sessmtp.IsRegion(t.Region) {
		bad("region: %q is not a region such as eu-west-1", t.Region)
	}
	if t.Region == "" && t.Properties.SESPassword != "" {
		bad("region: is missing; ses_smtp_password depends on it")
	}
	for _, k := range targetKeys {
		switch its := slices.Contains(k.types, t.Type); {
		case its && k.required && !k.given(t):
			bad("%s: is missing", k.key)
		case !its && k.given(t):
			bad("%s: is for type %s, not for %s", k.key, strings.Join(k.types, " and "), t.Type)
		}
	}
}

func (c Config) validateTargets() (errs []error) {
	names := map[string]bool{}
	for i, t := range c.Publish {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("publish[%d].%s", i, fmt.Sprintf(format, args...)))
		}
		if names[t.Label()] {
			bad("name: %q is taken by another target", t.Label())
		}
		names[t.Label()] = true
		t.validate(bad)
	}
	return errs
}

// validate reports a mail server that would not be used, and half a log-in.
func (s SMTP) validate() (errs []error) {
	if s.Host == "" && (s.Port != 0 || s.Username != "" || s.PasswordFile != "" || s.From != "" || len(s.To) > 0) {
		errs = append(errs, errors.New("notify.smtp.host: is missing, so that no mail would be sent"))
	}
	if (s.Username == "") != (s.PasswordFile == "") {
		errs = append(errs, errors.New("notify.smtp.username, notify.smtp.password_file: give both or none"))
	}
	return errs
}
