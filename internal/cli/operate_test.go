package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// managing returns an Env with a store that manages the user "ci".
func managing(t *testing.T) (run func(args ...string) (code int, out, errs string), load func() plan.Record) {
	t.Helper()
	e, out, errs := testEnv(t, nil)
	e.Now = time.Now
	cfg, err := e.loadValid(common{File: os.DevNull})
	if err != nil {
		t.Fatal(err)
	}
	save := func(f func(st store) error) {
		t.Helper()
		st, err := openStore(t.Context(), cfg, e.Getenv, rotatetest.Clock())
		if err != nil {
			t.Fatal(err)
		}
		if err := f(st); err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	save(func(st store) error {
		_, err := st.Save(t.Context(), rotate.Entry{
			Record: plan.Record{User: "ci", UserID: "AIDA1", Keys: []plan.Held{{
				ID: "AKIAIOSFODNN7EXAMPLE", Stage: plan.Current, Promoted: t0, Confirmed: t0,
			}}},
			Secrets: map[string]rotate.Secret{"AKIAIOSFODNN7EXAMPLE": rotate.NewSecret("a secret")},
		})
		return err
	})
	run = func(args ...string) (int, string, string) {
		out.Reset()
		errs.Reset()
		code := Run(t.Context(), e, args)
		return code, out.String(), errs.String()
	}
	load = func() (r plan.Record) {
		save(func(st store) error {
			got, err := st.Load(t.Context(), "ci")
			r = got.Record
			return err
		})
		return r
	}
	return run, load
}

func TestOperatorsMistakesAreTold(t *testing.T) {
	t.Parallel()
	run, load := managing(t)
	missing := filepath.Join(t.TempDir(), "typo.db")
	for _, tc := range []struct {
		name string
		args string
		code int
		says string
	}{
		{"a user that is not managed", "pause zz", 2, "\"keyrot status\" lists the managed users"},
		{"a user that is not paused", "resume ci", 4, "not paused"},
		{"a store that does not exist is not made", "pause ci --store " + missing, 2, "does not exist"},
		{"a caller for a user that is not managed", "users ack zz --caller x", 2, "not managed"},
		{"a key that nobody was given", "whohas AKIAIOSFODNN7EXAMPLE", 4, "nobody was given"},
		{"a key that keyrot does not know", "whohas AKIAFOO", 2, "who has it, keyrot cannot say"},
		{"two stores", "status --store a.db --table t --kms-key k", 2, "--store, --table: give one of them"},
		{"a reason that is a book", "pause ci --reason " + strings.Repeat("x", 501), 2, "--reason: is longer than 500 bytes"},
		{"a caller that is a book", "users ack ci --caller " + strings.Repeat("x", 501), 2, "--caller: is longer"},
		{"a name that is a book", "api-key create --users ci --name " + strings.Repeat("x", 501), 2, "--name: is longer"},
		{"a pattern that no user can match", "api-key create --users a|b", 2, `user pattern "a|b" matches no IAM user`},
		{"a log that is not there", "audit verify --audit-log " + missing, 1, "--audit-log"},
	} {
		if code, _, errs := run(strings.Fields(tc.args)...); code != tc.code || !strings.Contains(errs, tc.says) {
			t.Errorf("%s: keyrot %s = %d, %q, want %d and %q", tc.name, tc.args, code, errs, tc.code, tc.says)
		}
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a store was made for a misspelt name")
	}
	if r := load(); r.Pause != nil {
		t.Errorf("the user is paused: %+v", r.Pause)
	}
}

func TestOperatorsAnswersInJSON(t *testing.T) {
	t.Parallel()
	run, load := managing(t)
	if code, out, _ := run("whohas", "AKIAIOSFODNN7EXAMPLE", "-o", "json"); code != 4 || strings.TrimSpace(out) != "[]" {
		t.Errorf("whohas of nobody = %d, %q, want 4 and an empty list", code, out)
	}
	for _, tc := range []struct {
		args   string
		code   int
		want   deed
		paused bool // afterwards
	}{
		{"pause ci --dry-run -o json", 0, deed{User: "ci", Did: "pause", DryRun: true}, false},
		{"pause ci -o json", 0, deed{User: "ci", Did: "pause"}, true},
		{"resume ci --dry-run -o json", 0, deed{User: "ci", Did: "resume", DryRun: true}, true},
		{"resume ci -o json", 0, deed{User: "ci", Did: "resume"}, false},
		{"users ack ci --caller vendor --dry-run -o json", 0, deed{User: "ci", Did: "ack", Caller: "vendor", DryRun: true}, false},
		{"users ack ci --caller vendor -o json", 0, deed{User: "ci", Did: "ack", Caller: "vendor"}, false},
	} {
		code, out, errs := run(strings.Fields(tc.args)...)
		var got deed
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != tc.code || got != tc.want {
			t.Errorf("keyrot %s = %d, %q, %q, want %+v", tc.args, code, out, errs, tc.want)
		}
		if r := load(); (r.Pause != nil) != tc.paused {
			t.Errorf("after keyrot %s: pause = %+v, want %v", tc.args, r.Pause, tc.paused)
		}
	}
}

// TestBurnWithoutCredentials: the command ends at once and says who does it;
// the order is seen in the status; and nothing is written that would delay who
// can act, however often it is repeated.
func TestBurnWithoutCredentials(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_CONFIG_FILE": os.DevNull,
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
	} {
		t.Setenv(name, value)
	}
	run, load := managing(t)
	var first time.Time
	for range 3 {
		code, _, errs := run("burn", "ci")
		if code != 1 || !strings.Contains(errs, "is ordered") || !strings.Contains(errs, "no AWS credentials") || !strings.Contains(errs, "a running keyrot carries it out") {
			t.Fatalf("burn without credentials = %d, %q, want 1, and that a running keyrot carries the order out", code, errs)
		}
		r := load()
		if r.Order == nil || r.Order.Kind != plan.Burn || r.Failures != 0 || !r.RetryAt.IsZero() || r.Error != "" {
			t.Fatalf("the record has order %+v, %d failures, retry at %s, error %q", r.Order, r.Failures, r.RetryAt, r.Error)
		}
		if first.IsZero() {
			first = r.Order.At
		}
		if !r.Order.At.Equal(first) {
			t.Errorf("repeating burn moved its time from %s to %s", first, r.Order.At)
		}
	}
	if _, out, _ := run("status"); !strings.Contains(out, "burn of AKIA…LE ordered") || !strings.Contains(out, "is still active") {
		t.Errorf("status = %q, want the order and how the key is", out)
	}
	_, out, _ := run("status", "-o", "json")
	var users []userStatus
	if err := json.Unmarshal([]byte(out), &users); err != nil || len(users) != 1 || len(users[0].Orders) != 1 || users[0].Orders[0].Kind != "burn" {
		t.Errorf("status -o json = %q, %v, want the order", out, err)
	}
}
