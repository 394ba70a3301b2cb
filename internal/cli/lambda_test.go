package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyrot/keyrot/pkg/rotate"
)

func TestNewFunction(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		code int // of the error; 0: there is none
		says string
	}{
		"a rotator":             {map[string]string{"KEYROT_FUNCTION": "rotator", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k", "KEYROT_USERS_NAMES": "ann"}, 0, ""},
		"a rotator of nobody":   {map[string]string{"KEYROT_FUNCTION": "rotator", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k"}, 2, rotate.ErrNoUsers.Error()},
		"no table":              {map[string]string{"KEYROT_FUNCTION": "rotator"}, 2, "store.table"},
		"a table without a key": {map[string]string{"KEYROT_FUNCTION": "rotator", "KEYROT_STORE_TABLE": "t"}, 2, "store.kms_key"},
		"another function":      {map[string]string{"KEYROT_FUNCTION": "x", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k"}, 2, "KEYROT_FUNCTION"},
		"an API without secret": {map[string]string{"KEYROT_FUNCTION": "api", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k"}, 2, "KEYROT_API_SECRET"},
		"a malformed schedule":  {map[string]string{"KEYROT_FUNCTION": "rotator", "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k", "KEYROT_ROTATE_EVERY": "9"}, 2, "rotate_every"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			e := Env{Out: &out, Err: &out, Now: time.Now, Getenv: func(k string) string { return c.env[k] }}
			f, _, err := e.newFunction(t.Context())
			if exitCode(err) != c.code || c.code != 0 && !strings.Contains(err.Error(), c.says) {
				t.Errorf("newFunction = %v, want exit code %d and %q", err, c.code, c.says)
			}
			if c.code == 0 && (f.RunOnce == nil || f.API != nil || f.Overdue == nil) {
				t.Error("the rotator's function rotates, and does nothing else")
			}
		})
	}
}

func TestReadAPISecret(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for name, c := range map[string]struct {
		text string
		fail error
		want string
	}{
		"a key":       {`{"api_key":"k"}`, nil, "k"},
		"no key":      {`{"other":"hunter2"}`, nil, ""},
		"no JSON":     {`hunter2`, nil, ""},
		"unreachable": {``, down, ""},
	} {
		get := func(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
			if *in.SecretId != "id" {
				t.Errorf("%s: secret %q was asked for", name, *in.SecretId)
			}
			return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(c.text)}, c.fail
		}
		got, err := readAPISecret(t.Context(), get, "id")
		if got != c.want || (err == nil) != (c.want != "") || c.fail != nil && !errors.Is(err, c.fail) || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: readAPISecret = %q, %v, want %q", name, got, err, c.want)
		}
	}
}
