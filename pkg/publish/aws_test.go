package publish_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/publish"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// texts returns the values of the versions.
func texts(vs []version) []string {
	var out []string
	for _, v := range vs {
		out = append(out, v.text)
	}
	return out
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%q is not a JSON object: %v", text, err)
	}
	return m
}

// Each target is crashed before and after its write; the next attempt leaves
// one publication.
func TestACrashLeavesOnePublication(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"never", "before", "after"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			f := &fakeAWS{secrets: map[string][]version{"app/ci": {{text: `{"host":"db","n":1e3,"l":"<&>"}`}}}}
			cfg, w := f.start(t)
			targets := []rotate.Publisher{
				&publish.SecretsManager{AWS: cfg, Secrets: []string{"app/${USER}"}},
				&publish.SSM{AWS: cfg, Parameter: "/app/${USER}", Properties: publish.Properties{KeyID: "id", Secret: "key", Expiration: "until"}},
			}
			for _, p := range targets {
				w.before, w.after = when == "before", when == "after"
				err := p.Publish(t.Context(), pair("AKIA1"))
				if (err != nil) != (when != "never") {
					t.Fatalf("%s: Publish() = %v, crashed %s", p.Name(), err, when)
				}
				for range 2 {
					if err := p.Publish(t.Context(), pair("AKIA1")); err != nil {
						t.Fatalf("%s: Publish() again = %v", p.Name(), err)
					}
				}
			}
			if got := f.secrets["app/ci"]; len(got) != 2 {
				t.Errorf("secret has versions %v, want the old one and one more", texts(got))
			}
			want := `{"access_key_id":"AKIA1","host":"db","l":"<&>","n":1e3,"secret_access_key":"` + secretText + `AKIA1"}`
			if got := f.secrets["app/ci"]; got[len(got)-1].text != want {
				t.Errorf("secret = %s, want %s", got[len(got)-1].text, want)
			}
			got := f.params["/app/ci"]
			if len(got) != 1 {
				t.Fatalf("parameter has versions %v, want one", texts(got))
			}
			wantParam := map[string]any{"id": "AKIA1", "key": secretText + "AKIA1", "until": "2026-11-01T12:12:00Z"}
			if diff := cmp.Diff(wantParam, object(t, got[0].text)); diff != "" {
				t.Errorf("parameter (-want +got):\n%s", diff)
			}
			if f.kinds["/app/ci"] != "SecureString" {
				t.Errorf("parameter is a %s, want SecureString", f.kinds["/app/ci"])
			}
		})
	}
}

func TestTwoSecretsAreWrittenInTurn(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{secrets: map[string][]version{"a": nil, "b": nil}}
	cfg, w := f.start(t)
	p := &publish.SecretsManager{AWS: cfg, Secrets: []string{"a", "b"}}
	for _, id := range []string{"AKIA1", "AKIA2", "AKIA3", "AKIA4"} {
		w.after = true
		_ = p.Publish(t.Context(), pair(id)) // its answer is lost
		if err := p.Publish(t.Context(), pair(id)); err != nil {
			t.Fatalf("Publish(%s) = %v", id, err)
		}
	}
	var ids []string
	for _, name := range []string{"a", "b"} {
		for _, v := range f.secrets[name] {
			ids = append(ids, name+":"+object(t, v.text)["access_key_id"].(string))
		}
	}
	if want := []string{"a:AKIA1", "a:AKIA3", "b:AKIA2", "b:AKIA4"}; !slices.Equal(ids, want) {
		t.Errorf("written %v, want %v", ids, want)
	}
}

func TestASecretThatSomebodyOverwroteIsWrittenAgain(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{secrets: map[string][]version{"s": nil}}
	cfg, _ := f.start(t)
	p := &publish.SecretsManager{AWS: cfg, Secrets: []string{"s"}}
	for _, theirs := range []string{`{"x":1}`, `{"x":2}`, ""} {
		if err := p.Publish(t.Context(), pair("AKIA1")); err != nil {
			t.Fatalf("Publish() = %v", err)
		}
		last := f.secrets["s"][len(f.secrets["s"])-1]
		if object(t, last.text)["access_key_id"] != "AKIA1" {
			t.Errorf("current value = %s, want the pair in it", last.text)
		}
		f.secrets["s"] = append(f.secrets["s"], version{text: theirs})
	}
}

func TestTokensOfKeysDiffer(t *testing.T) {
	t.Parallel()
	id := publish.ID("ci", "AKIA1")
	if len(id) != 36 || id[14] != '5' || !strings.ContainsRune("89ab", rune(id[19])) {
		t.Errorf("ID() = %q, want a version 5 UUID", id)
	}
	if id != publish.ID("ci", "AKIA1") || id == publish.ID("ci", "AKIA2") || id == publish.ID("c", "iAKIA1") {
		t.Error("ID() does not depend on user and key alone")
	}
}

func TestSecretsManagerRefusesWhatItsQuotaForbids(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		secrets  int
		interval time.Duration
		want     string
	}{
		{"one secret every 15 min", 1, 15 * time.Minute, ""},
		{"one secret every 10 min", 1, 10 * time.Minute, "name 2 secrets"},
		{"two secrets every 10 min", 2, 10 * time.Minute, ""},
		{"two secrets every 7 min", 2, 7 * time.Minute, "name 3 secrets"},
		{"no secret", 0, time.Hour, "no secret is named"},
	} {
		err := (&publish.SecretsManager{Secrets: make([]string, tt.secrets)}).Check(tt.interval)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: Check() = %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestSecretsThatAreNotThereAreToldInWords(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{secrets: map[string][]version{"app/ci": nil}, deleted: "app/ci"}
	cfg, _ := f.start(t)
	for secret, want := range map[string]string{
		"app/${USER}": `scheduled for deletion; "aws secretsmanager restore-secret --secret-id app/ci --region eu-west-1"`,
		"none/a":      `there is none; "aws secretsmanager create-secret --name none/a --region eu-west-1"`,
		"arn:aws:secretsmanager:eu-west-1:123456789012:secret:x": "ResourceNotFoundException",
	} {
		err := (&publish.SecretsManager{AWS: cfg, Secrets: []string{secret}}).Publish(t.Context(), pair("AKIA1"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secretText) {
			t.Errorf("%s: Publish() = %v, want %q", secret, err, want)
		}
	}
}

func TestWhatCannotBeMergedIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, old := range []string{"a plain password", `["list"]`, "null", `"text"`} {
		f := &fakeAWS{
			secrets: map[string][]version{"s": {{text: old}}},
			params:  map[string][]version{"p": {{text: old}}}, kinds: map[string]string{"p": "SecureString"},
		}
		cfg, _ := f.start(t)
		for _, p := range []rotate.Publisher{
			&publish.SecretsManager{AWS: cfg, Secrets: []string{"s"}},
			&publish.SSM{AWS: cfg, Parameter: "p"},
		} {
			err := p.Publish(t.Context(), pair("AKIA1"))
			if err == nil || strings.Contains(err.Error(), old) {
				t.Errorf("%s over %q: Publish() = %v, want an error that does not quote it", p.Name(), old, err)
			}
		}
		if len(f.secrets["s"])+len(f.params["p"]) != 2 {
			t.Errorf("%q was overwritten", old)
		}
	}
}

func TestAParameterInTheClearIsNotUsed(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{params: map[string][]version{"p": {{text: "{}"}}}, kinds: map[string]string{"p": "String"}}
	cfg, _ := f.start(t)
	err := (&publish.SSM{AWS: cfg, Parameter: "p"}).Publish(t.Context(), pair("AKIA1"))
	if err == nil || !strings.Contains(err.Error(), "is a String") {
		t.Errorf("Publish() = %v, want a refusal", err)
	}
}

func TestErrorsOfAWSHoldNoSecret(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{secrets: map[string][]version{"s": nil}, failWith: "ValidationException"}
	cfg, _ := f.start(t)
	for _, p := range []rotate.Publisher{
		&publish.SecretsManager{AWS: cfg, Secrets: []string{"s"}},
		&publish.SSM{AWS: cfg, Parameter: "p"},
	} {
		err := p.Publish(t.Context(), pair("AKIA1"))
		if err == nil || !strings.Contains(err.Error(), "ValidationException (HTTP 400)") {
			t.Errorf("%s: Publish() = %v, want AWS's code", p.Name(), err)
		} else if strings.Contains(err.Error(), secretText) {
			t.Errorf("%s: the error holds the secret: %v", p.Name(), err)
		}
	}
}

// TestTenMinutesFor25HoursAgainstTheVersionQuota: Secrets Manager keeps 100
// versions and removes none that is less than a day old.
func TestTenMinutesFor25HoursAgainstTheVersionQuota(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		secrets []string
		fails   bool
	}{
		{[]string{"a", "b"}, false},
		{[]string{"a"}, true}, // what Check refuses: the fake does count
	} {
		f := &fakeAWS{secrets: map[string][]version{"a": nil, "b": nil}, quota: 100}
		cfg, w := f.start(t)
		p := &publish.SecretsManager{AWS: cfg, Secrets: tt.secrets}
		if err := p.Check(10 * time.Minute); (err != nil) != tt.fails {
			t.Errorf("Check(10m) of %d secrets = %v", len(tt.secrets), err)
		}
		var failed error
		for i := range 25 * 6 {
			f.now = time.Date(2026, 11, 1, 0, 10*i, 0, 0, time.UTC)
			id := fmt.Sprintf("AKIA%d", i)
			w.after = i%7 == 0 // a lost answer and its repetition are one version
			err := p.Publish(t.Context(), pair(id))
			if w.after = false; err != nil {
				err = p.Publish(t.Context(), pair(id))
			}
			failed = errors.Join(failed, err)
		}
		if (failed != nil) != tt.fails {
			t.Errorf("150 rotations in 25 h with %d secrets: %v, want failure: %v", len(tt.secrets), failed, tt.fails)
		}
	}
}

// TestARolledExpirationIsANewVersion: a key that is served on is published again
// with a later expiration, as often as it takes; the same one twice is one
// version.
func TestARolledExpirationIsANewVersion(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{secrets: map[string][]version{"s": nil}}
	cfg, w := f.start(t)
	p := &publish.SecretsManager{AWS: cfg, Secrets: []string{"s"}, Properties: publish.Properties{Expiration: "expires"}}
	c := pair("AKIA1")
	for i := range 8 {
		c.Expiration = time.Date(2026, 11, 1, i, 0, 0, 0, time.UTC)
		w.after = true // the answer is lost
		_ = p.Publish(t.Context(), c)
		w.after = false
		if err := p.Publish(t.Context(), c); err != nil {
			t.Fatalf("Publish() with expiration %d = %v", i, err)
		}
		last := f.secrets["s"][len(f.secrets["s"])-1]
		if object(t, last.text)["expires"] != c.Expiration.Format(time.RFC3339) {
			t.Errorf("the value is %s, want expiration %s", last.text, c.Expiration)
		}
	}
	if n := len(f.secrets["s"]); n != 8 {
		t.Errorf("%d versions, want 8", n)
	}
	if p.Traits().Expires != true || (&publish.SecretsManager{}).Traits().Expires {
		t.Error("Traits() does not say whether readers see the expiration")
	}
}
