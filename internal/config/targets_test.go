package config_test

import (
	"strings"
	"testing"
)

// TestSettingsThatWouldNotBeUsed: who gives them expects something of them.
func TestSettingsThatWouldNotBeUsed(t *testing.T) {
	t.Parallel()
	for yaml, says := range map[string]string{
		`publish: [{type: secretsmanager, secrets: ["a${USER}"], kms_key: alias/x}]`:    "publish[0].kms_key: is for type ssm, not for secretsmanager",
		`publish: [{type: ssm, parameter: "/${USER}", path: /x}]`:                       "publish[0].path: is for type file, not for ssm",
		`publish: [{type: hook, command: [/bin/x], format: json}]`:                      "publish[0].format: is for type file, not for hook",
		`publish: [{type: file, path: "/x/${USER}", properties: {access_key_id: a}}]`:   "publish[0].properties: is for type secretsmanager and ssm, not for file",
		`publish: [{type: webhook, url: "https://x", key_file: /k, command: [/bin/x]}]`: "publish[0].command: is for type hook, not for webhook",
		`publish: [{type: file, path: "/x/${USER}", timeout: 1s}]`:                      "publish[0].timeout: is for type hook",
		`notify: {smtp: {from: a@b.example, to: [c@d.example]}}`:                        "notify.smtp.host: is missing",
		`notify: {smtp: {port: 25}}`:                                                    "notify.smtp.host: is missing",
		`notify: {smtp: {host: h, from: a@b.example, to: [c@d.example], username: u}}`:  "notify.smtp.username, notify.smtp.password_file: give both or none",
	} {
		c, err := load(t, yaml, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", yaml, err)
		}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: Validate = %v, want %q", yaml, err, says)
		}
	}
}
