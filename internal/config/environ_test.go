package config_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/internal/config"
)

func TestVariablesThatAreNoSettings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		variable string
		says     string // "": nothing
	}{
		{"KEYROT_USERS_EXCLUDE=a", ""},
		{"KEYROT_USERS_EXCLUDES=a", "write KEYROT_USERS_EXCLUDE"},
		{"KEYROT_ROTATEEVERY=1h", "write KEYROT_ROTATE_EVERY"},
		{"KEYROT_WORKER=3", "write KEYROT_WORKERS"},
		{"KEYROT_USERS_EXCEPT=a", "KEYROT_USERS_EXCEPT is not a setting"},
		{"KEYROT_STORE_PAHT=a", "KEYROT_STORE_PAHT is not a setting"},
		{"KEYROT_NOTIFY_SMTP_HOSTS=a", "KEYROT_NOTIFY_SMTP_HOSTS is not a setting"},
		{"KEYROT_OVERRIDES=[]", "overrides is a list of groups"},
		{"KEYROT_SERVER_IDENTITIES=[]", "server.identities is a list of groups"},
		{"KEYROT_PUBLISH_0_TYPE=ssm", "KEYROT_PUBLISH_0_TYPE is not a setting"},
		{"KEYROT_ROTATE_EVRY=1h", "KEYROT_ROTATE_EVRY is not a setting"},
		{"KEYROT_USER_NAMES=ci", "KEYROT_USER_NAMES is not a setting"},
		{"KEYROT_MINE=x", "KEYROT_MINE is not a setting"},
		{"KEYROT_FUNCTION=api", ""},
		{"KEYROT_API_KEY=k", ""},
		{"KEYROT_SEAL_KEY=k", ""},
		{"KEYROT_VERSION=1.2", ""},
		{"KEYROT_USERS_EXCEPT=", ""},
		{"KEYROT_PORT=tcp://10.0.0.1:8443", ""},
		{"KEYROT_SERVER_SERVICE_HOST=10.0.0.1", ""},
		{"KEYROT_SERVER_PORT_8443_TCP_ADDR=10.0.0.1", ""},
		{"OTHER_USERS_EXCEPT=a", ""},
	} {
		name, value, _ := strings.Cut(tc.variable, "=")
		_, err := config.Load(config.Source{File: os.DevNull, Environ: []string{tc.variable}, Getenv: func(v string) string {
			if v == name {
				return value
			}
			return ""
		}})
		if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%s: Load = %v, want %q", tc.variable, err, tc.says)
		}
	}
}

func TestAnOverrideCannotSayZero(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"settle", "max_hold", "burn_evidence", "deactivate_after"} {
		_, err := load(t, "overrides: [{name: a, "+key+": 0s}]", nil, nil)
		if err == nil || !strings.Contains(err.Error(), "overrides[0]."+key+": an override cannot say zero") {
			t.Errorf("%s: Load = %v", key, err)
		}
	}
	if c, err := load(t, "settle: 0s\noverrides: [{name: a, settle: 1s}]", nil, nil); err != nil || !slices.ContainsFunc(c.Overrides, func(o config.Override) bool { return o.Settle > 0 }) {
		t.Errorf("zero for everybody: %v", err)
	}
}
