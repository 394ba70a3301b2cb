//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is called for what it tells only: if it fails, that is told, and the
// command goes on. docs/deploy.md says so.
var optional = map[string]string{
	"iam:SimulatePrincipalPolicy":        "warning: your permissions were not checked",
	"ses:GetAccount":                     "warning: asking SES about the account",
	"cloudformation:DescribeStackEvents": "progress is not shown",
	"secretsmanager:GetSecretValue":      "warning: reading the API key",
}

// A note that nobody needs any more does no harm, and a look ahead that does not
// know what IAM allows goes by iam.rate.
const (
	eraseNote = "warning: deleting iam-key-rotation/removal.json"
	unlearnt  = "warning: the rates that IAM allows, as the stack has learnt them, cannot be read"
)

// What has another way to the same end: users are also found one by one, and
// a lease that cannot be given up ends by itself.
var otherWay = map[string][]Fate{
	"iam:GetAccountAuthorizationDetails": {Denied},
	"iam:ListUsers":                      {Denied}, // of a path: then the account is read
	"dynamodb:DeleteItem":                {Denied, Down, Lost},
	"dynamodb:DescribeTable":             {Denied}, // whether it is a global table is not known then, which is a warning
}

var mutating = []string{"Create", "Put", "Update", "Delete", "Execute", "Schedule"}

// act is a command whose every call fails in its turn.
type act struct {
	name    string
	prepare func(*faultScene)
	args    []string          // with the fault
	again   []string          // without; must heal
	deep    bool              // not only the first call of each action, and not only refusals
	warns   map[string]string // what is as in optional, for this act
}

var acts = []act{
	{"deploy", (*faultScene).nothing, deployArgs(), deployArgs(), true, nil},
	{
		"update", (*faultScene).deployed, deployArgs("--log-retention", "30"), deployArgs("--log-retention", "30"), false,
		map[string]string{"dynamodb:GetItem": unlearnt},
	},
	{
		"cleanup", (*faultScene).rotated,
		[]string{"cleanup", "--yes", "--delete-secrets", "--wait", "30s"},
		[]string{"cleanup", "--yes", "--delete-secrets", "--wait", "3m"},
		false, nil,
	},
	{
		"deploy --cleanup", (*faultScene).rotated, deployArgs("--cleanup"), deployArgs("--cleanup"), false,
		map[string]string{"dynamodb:GetItem": unlearnt, "kms:Decrypt": unlearnt, "s3:DeleteObject": eraseNote},
	},
}

// faultsOf makes the table of an act from what a clean run of it calls. Each
// action is denied; if it changes anything, it also takes effect and loses its
// answer, and, as its second call, goes down.
func faultsOf(a act, order []string, calls map[string]int) (all []Fault) {
	for _, action := range order {
		all = append(all, Fault{action, 1, Denied})
		_, op, _ := strings.Cut(action, ":")
		changes := slices.ContainsFunc(mutating, func(p string) bool { return strings.HasPrefix(op, p) })
		if changes {
			all = append(all, Fault{action, 1, Lost})
		}
		if a.deep && calls[action] > 1 {
			all = append(all, Fault{action, 2, Denied})
		}
		if a.deep && changes {
			all = append(all, Fault{action, min(2, calls[action]), Down})
		}
	}
	return all
}

// Whatever call fails: the message says what was being done and why it was not,
// and the same command again ends where an undisturbed one ends.
func TestDeployFaults(t *testing.T) {
	t.Parallel()
	pool := newFaultPool(t, 4)
	t.Run("acts", func(t *testing.T) { // ends before the servers do
		for _, a := range acts {
			t.Run(a.name, func(t *testing.T) {
				t.Parallel()
				order, calls, want := pool.record(t, a)
				for _, f := range faultsOf(a, order, calls) {
					t.Run(f.String(), func(t *testing.T) {
						t.Parallel()
						s := pool.take(t)
						defer pool.give(s)
						s.fail(a, f, want)
					})
				}
			})
		}
	})
}

// record runs an act undisturbed.
func (p faultPool) record(t *testing.T, a act) (order []string, calls map[string]int, want map[string]string) {
	t.Helper()
	s := p.take(t)
	defer p.give(s)
	a.prepare(s)
	s.aws.Begin(Fault{})
	if r := s.run(a.args...); r.code != 0 || strings.Contains(r.talk, "warning") {
		t.Fatalf("undisturbed: %s", r)
	}
	order, calls, unnamed := s.aws.Called()
	if len(unnamed) > 0 {
		t.Fatalf("requests that nobody can name: %q", unnamed)
	}
	t.Logf("%s calls %d actions: %v", a.name, len(order), calls)
	return order, calls, s.state()
}

// fail runs an act with a fault, and again without.
func (s *faultScene) fail(a act, f Fault, want map[string]string) {
	a.prepare(s)
	s.aws.Begin(f)
	r := s.run(a.args...)
	warning := optional[f.Action] + a.warns[f.Action]
	switch {
	case !s.aws.Struck():
		s.t.Errorf("%s was not called", f)
	case warning != "":
		if r.code != 0 || !strings.Contains(r.talk, warning) {
			s.t.Errorf("want no more than a warning: %s", r)
		}
	case slices.Contains(otherWay[f.Action], f.Fate):
		if r.code != 0 {
			s.t.Errorf("want another way: %s", r)
		}
	case r.code == 0 && (a.args[0] != "cleanup" || !strings.Contains(r.talk, "; tried again at")):
		s.t.Errorf("it did not fail: %s", r)
	default:
		s.clear(r, f)
	}
	s.quiet(r)
	s.aws.Begin(Fault{})
	again := s.run(a.again...)
	if again.code != 0 && (again.code != 4 || a.args[0] != "cleanup") {
		s.t.Errorf("the same again, undisturbed: %s\nafter: %s", again, r)
	}
	s.quiet(again)
	if diff := cmp.Diff(want, s.state()); diff != "" {
		s.t.Errorf("not healed (-as undisturbed +now):\n%s\nafter: %s\nand: %s", diff, r, again)
	}
}

// clear wants a message that says what was being done, and why it was not.
func (s *faultScene) clear(r result, f Fault) {
	_, op, _ := strings.Cut(f.Action, ":")
	said := false
	for line := range strings.Lines(r.talk) {
		text, ok := strings.CutPrefix(line, "keyrot: error: ")
		said = said || ok
		if ok && (strings.HasPrefix(text, "operation error") || !strings.Contains(text, " ")) {
			s.t.Errorf("the error does not say what was being done: %s", line)
		}
	}
	reasons := map[Fate][]string{
		Denied: {"AccessDenied", "StatusCode: 403"}, Down: {"StatusCode: 503", "HTTP 503"}, Lost: {"EOF", "connection reset"},
	}
	why := slices.ContainsFunc(reasons[f.Fate], func(reason string) bool { return strings.Contains(r.talk, reason) })
	if said != (r.code != 0) || !why || !strings.Contains(r.talk, op) {
		s.t.Errorf("the error does not name %s and the reason: %s", op, r)
	}
}

// quiet wants no secret to be shown, but the new stack's API key, and nothing
// of Go's.
func (s *faultScene) quiet(r result) {
	for _, secret := range s.aws.Secrets() {
		if strings.Contains(r.talk, secret) || strings.Contains(r.out, secret) && (secret != stackKey || r.code != 0) {
			s.t.Errorf("a secret is shown: %s", r)
		}
	}
	if strings.Contains(r.talk, "goroutine ") || strings.Contains(r.talk, "panic:") {
		s.t.Errorf("it panicked: %s", r)
	}
}

func deployArgs(more ...string) []string {
	return append([]string{
		"deploy", "--admin-email", "admin@example.com", "--sender-email", "keyrot@example.com", "--path-prefix", "/machines/",
		"--tag", "keyrot:managed=true", "--yes",
	}, more...)
}

// result is how a command ended.
type result struct {
	code      int
	out, talk string
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\n%s%s", r.code, r.talk, r.out)
}

// faultPool are scenes that are used over and over.
type faultPool chan *faultScene

func newFaultPool(t *testing.T, n int) faultPool {
	t.Helper()
	dir := shortDir(t)
	bin, err := BuildKeyrot(t.Context(), dir+"/bin")
	if err != nil {
		t.Fatal(err)
	}
	p := make(faultPool, n)
	for i := range n {
		s, err := newFaultScene(t, bin, fmt.Sprintf("%s/%d", dir, i))
		if err != nil {
			t.Fatal(err)
		}
		p <- s
	}
	return p
}

// take waits for a scene that nobody is on, emptied.
func (p faultPool) take(t *testing.T) *faultScene {
	t.Helper()
	s := <-p
	s.t = t
	if err := s.empty(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	return s
}

func (p faultPool) give(s *faultScene) { p <- s }
