package cli

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/deploy"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/templates"
)

// What a stack is given comes back as the same configuration.
func TestKnobs(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv(t, nil)
	given := map[string]any{
		"users.names": []string{"ann", "bob"}, "users.exclude": []string{"root-*"}, "rotate_every": "30m", "deactivate_after": "40m", "delete_after": "50m",
		"existing_keys": "retire", "iam.rate": "5", "workers": "16", "on_in_use": "hold", "max_hold": "2h", "settle": "20s", "store.table": "t", "store.kms_key": "k",
	}
	cfg, err := e.loadValid(common{Flags: given})
	if err != nil {
		t.Fatal(err)
	}
	s := deploy.Stack{Outputs: map[string]string{deploy.OutputTable: "t", deploy.OutputKey: "k"}, Parameters: map[string]string{}}
	for _, k := range knobs {
		s.Parameters[k.parameter] = k.value(cfg)
		if !strings.Contains(templates.Keyrot(), "\n  "+k.parameter+":") {
			t.Errorf("the template has no parameter %s", k.parameter)
		}
		if !strings.Contains(templates.Keyrot(), config.EnvName(k.key)+": !Ref "+k.parameter+"\n") {
			t.Errorf("the rotator does not get %s as %s", k.parameter, config.EnvName(k.key))
		}
	}
	back, err := e.loadValid(common{Flags: settingsOf(s)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cfg, back); diff != "" {
		t.Errorf("the stack's configuration (-given +got):\n%s", diff)
	}
}

func TestDeployable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		flags map[string]any
		says  string
	}{
		"by path and tag":    {map[string]any{"users.path_prefix": "/m/", "users.tag": "keyrot:managed=true"}, ""},
		"nobody":             {nil, rotate.ErrNoUsers.Error()},
		"another tag":        {map[string]any{"users.tag": "team=x"}, "keyrot:managed"},
		"faster than a tick": {map[string]any{"users.names": "ann", "rotate_every": "3m", "deactivate_after": "3m40s", "delete_after": "5m"}, "schedule"},
	} {
		e, _, _ := testEnv(t, nil)
		_, err := e.deployable(common{Flags: c.flags})
		if (err == nil) != (c.says == "") || err != nil && (exitCode(err) != 2 || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: deployable = %v, want %q", name, err, c.says)
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	old, other := plan.Key{ID: "OLD"}, plan.Key{ID: "OTHER"}
	ours := plan.Record{Keys: []plan.Held{{ID: "OURS"}}}
	for _, c := range []struct {
		name     string
		c        candidate
		rec      plan.Record
		existing rotate.ExistingKeys
		foreign  int
		refused  bool
	}{
		{"no keys", candidate{}, plan.Record{}, rotate.Refuse, 0, false},
		{"a key of somebody else", candidate{Keys: []plan.Key{old}}, plan.Record{}, rotate.Refuse, 1, true},
		{"a key that is retired", candidate{Keys: []plan.Key{old}}, plan.Record{}, rotate.Retire, 1, false},
		{"no slot left", candidate{Keys: []plan.Key{old, other}}, plan.Record{}, rotate.Retire, 2, true},
		{"our own key", candidate{Managed: true, Keys: []plan.Key{{ID: "OURS"}}}, ours, rotate.Refuse, 0, false},
	} {
		got := judge(c.c, c.rec, c.existing)
		if len(got.Foreign) != c.foreign || (got.Refused != "") != c.refused {
			t.Errorf("%s: judge = %+v", c.name, got)
		}
	}
}

func TestARenamedUserIsManaged(t *testing.T) {
	t.Parallel()
	aws := &rotatetest.AWS{}
	u := aws.AddUser("ci-new", "/", nil)
	id, err := aws.Plant("ci-new")
	if err != nil {
		t.Fatal(err)
	}
	p := &deployment{cfg: config.Config{Workers: 1, ExistingKeys: string(rotate.Refuse)}, aws: cloud{IAM: aws}}
	known := map[string]plan.Record{"ci": {User: "ci", UserID: u.ID, Keys: []plan.Held{{ID: id}}}}
	found, err := p.look(t.Context(), []rotate.User{u}, known)
	if err != nil || len(found) != 1 || !found[0].Managed || len(found[0].Foreign) != 0 || found[0].Refused != "" {
		t.Errorf("look = %+v, %v, want a user that is managed and has no foreign key", found, err)
	}
}

func TestDeniedARNs(t *testing.T) {
	t.Parallel()
	got, err := deniedARNs("arn:aws-cn:iam::1:user/me", []string{"root-*"})
	want := []string{"arn:aws-cn:iam::1:user/root-*", "arn:aws-cn:iam::1:user/*/root-*"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("deniedARNs = %v, (-want +got):\n%s", err, diff)
	}
	if _, err := deniedARNs("arn:aws:iam::1:user/me", []string{"[ab]"}); exitCode(err) != 2 {
		t.Errorf("a pattern that IAM does not know: %v, want it refused", err)
	}
}

func TestConfirmed(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{"yes\n": true, "y\n": false, "": false, "no\n": false, "yes": true} {
		e, _, _ := testEnv(t, nil)
		e.In = strings.NewReader(answer)
		if got, err := e.confirmed(t.Context(), "?"); got != want || err != nil {
			t.Errorf("confirmed after %q = %t, want %t", answer, got, want)
		}
	}
}

func TestArtefactOfNothing(t *testing.T) {
	t.Parallel()
	_, err := artefact(filepath.Join(t.TempDir(), "none.zip"))
	if !errors.Is(err, fs.ErrNotExist) || exitCode(err) != 2 || !strings.Contains(hintFor(err), "release") {
		t.Errorf("artefact = %v (%s), want bad input and a way to get it", err, hintFor(err))
	}
}

func TestKeeping(t *testing.T) {
	t.Parallel()
	got := keepingOf(plan.Record{User: "ann", Keys: []plan.Held{{ID: "OLD", Stage: plan.Previous}, {ID: "NEW", Stage: plan.Current}}})
	if diff := cmp.Diff(keeping{User: "ann", Keeps: "NEW", Besides: []string{"OLD"}}, got); diff != "" {
		t.Errorf("keepingOf (-want +got):\n%s", diff)
	}
}

// The deployed rotator is asked, and its answer shown.
func TestRotateStack(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		if got := body.String(); got != `{"action":"rotate","users":["ann"],"force":true,"wait_seconds":5}` {
			t.Errorf("request %s", got)
		}
		w.Header().Set("X-Amzn-Requestid", "r")
		_, _ = w.Write([]byte(`{"users":[{"user":"ann","steps":[{"action":"create","key":"AKIA…X"}],"error":"denied"}]}`))
	}))
	defer srv.Close()
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	e, out, _ := testEnv(t, map[string]string{"AWS_ENDPOINT_URL_LAMBDA": srv.URL})
	s := &deploy.Stack{Outputs: map[string]string{deploy.OutputRotatorURL: "https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/f/invocations"}}
	err := e.rotateOnce(t.Context(), rotateOptions{common: common{Output: "text", Stack: s}, Users: []string{"ann"}, Force: true, Wait: 5 * time.Second})
	if !errors.Is(err, errSome) || !strings.Contains(out.String(), "create") || !strings.Contains(out.String(), "denied") {
		t.Errorf("rotateOnce = %v, %s", err, out)
	}
}
