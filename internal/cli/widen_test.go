package cli

import (
	"bytes"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/deploy"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// TestEveryKeyIsTheStacksOrRefused changes each key of the configuration by
// itself: a stack gets it, it has nothing to do with stacks, or it is refused by
// its name. A new key is refused until somebody thinks about it.
func TestEveryKeyIsTheStacksOrRefused(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv(t, nil)
	base, err := e.load(common{})
	if err != nil {
		t.Fatal(err)
	}
	if errs := unstackable(base, e.Getenv); len(errs) > 0 {
		t.Fatalf("the defaults are refused: %v", errs)
	}
	keys, refused := config.Keys(), 0
	for i, key := range keys {
		cfg := base
		n := 0
		if !spoil(reflect.ValueOf(&cfg).Elem(), i, &n) {
			t.Fatalf("%s: the test cannot change it", key)
		}
		if diff := cmp.Diff([]string{key}, cfg.Changed(e.Getenv)); diff != "" {
			t.Errorf("%s: Changed (-want +got):\n%s", key, diff)
		}
		errs := unstackable(cfg, e.Getenv)
		if slices.Contains(append(stackKeys(), notTheStacks...), key) {
			if len(errs) > 0 {
				t.Errorf("%s is refused: %v", key, errs)
			}
			continue
		}
		if refused++; len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), key+": a stack cannot do this") {
			t.Errorf("%s is dropped without a word: %v", key, errs)
		}
	}
	for _, key := range slices.Concat(stackKeys(), notTheStacks, slices.Collect(maps.Keys(instead))) {
		if !slices.Contains(keys, key) {
			t.Errorf("there is no key %s", key)
		}
	}
	for _, key := range []string{"windows", "publish", "notify.slack.url_file", "server.identities", "retire_idle", "burn_evidence", "consumer_refresh"} {
		if !slices.Contains(keys, key) || slices.Contains(stackKeys(), key) {
			t.Errorf("%s is not refused", key)
		}
	}
	t.Logf("%d keys, %d of them refused", len(keys), refused)
}

// spoil changes the leaf of that number, in the order of config.Keys.
func spoil(v reflect.Value, which int, n *int) bool {
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Struct {
			if spoil(f, which, n) {
				return true
			}
			continue
		}
		if *n++; *n-1 != which {
			continue
		}
		switch f.Kind() {
		case reflect.String:
			f.SetString(f.String() + "x")
		case reflect.Int, reflect.Int64:
			f.SetInt(f.Int() + int64(time.Hour))
		case reflect.Float64:
			f.SetFloat(f.Float() + 1)
		case reflect.Bool:
			f.SetBool(!f.Bool())
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		default:
			return false
		}
		return true
	}
	return false
}

func TestDeployRefusesByName(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv(t, nil)
	_, err := e.deployable(common{Flags: map[string]any{
		"users.names": "ann", "retire_idle": "48h", "server.metrics": "open", "log.level": "warn", "endpoint": "https://k.example",
	}})
	if err == nil || exitCode(err) != 2 {
		t.Fatalf("deployable = %v, want bad input", err)
	}
	for _, want := range []string{"retire_idle: a stack cannot", "server.metrics: a stack cannot"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("deployable = %q, want %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "log.level") || strings.Contains(err.Error(), "endpoint") {
		t.Errorf("deployable = %q, want no word about this machine's own settings", err)
	}
}

// TestDeployKeepsWhatItHandsOn: what a parameter says is what was configured.
func TestDeployKeepsWhatItHandsOn(t *testing.T) {
	t.Parallel()
	var cfg config.Config
	cfg.Users.Names = []string{"smith,john"}
	if errs := unstackable(cfg, func(string) string { return "" }); len(errs) == 0 || !strings.Contains(errs[0].Error(), "comma") {
		t.Errorf("unstackable = %v, want the name with the comma refused", errs)
	}
	e, _, _ := testEnv(t, nil)
	for _, rate := range []float64{0.00001, 0.5, 2, 5e6} {
		cfg.IAM.Rate = rate
		for _, k := range knobs {
			if k.key != "iam.rate" {
				continue
			}
			got, err := config.Load(config.Source{File: os.DevNull, Getenv: e.Getenv, Flags: map[string]any{k.key: k.value(cfg)}})
			if err != nil || got.IAM.Rate != rate {
				t.Errorf("%s = %q is read as %v, %v, want %v", k.parameter, k.value(cfg), got.IAM.Rate, err, rate)
			}
		}
	}
}

// deployed is a stack as a first run with many flags left it.
func deployed() deploy.Stack {
	return deploy.Stack{
		Name: "s", Status: "CREATE_COMPLETE", Outputs: map[string]string{deploy.OutputTable: "t", deploy.OutputKey: "k"},
		Parameters: map[string]string{
			"AdminEmail": "a@example.com", "SenderEmail": "s@example.com", "AllowedSources": "10.0.0.0/8,192.0.2.0/24", "ApiUsers": "ci,db-*",
			"PermissionsBoundary": "arn:aws:iam::123456789012:policy/b", "ReservedConcurrency": "3", "LogRetentionDays": "30",
			"UserNames": "", "UserPath": "/machines/", "UserTag": "", "AllUsers": "false", "UserExclude": "root-*", "ExistingKeys": "retire",
			"Schedule": "default", "RotateEvery": "30m0s", "DeactivateAfter": "40m0s", "DeleteAfter": "50m0s", "OnInUse": "hold", "MaxHold": "2h0m0s",
			"Settle": "20s", "IamRate": "5", "MailDigest": "hourly", "ExistingTable": "", "ExistingKmsKey": "", "ApiRate": "99",
		},
	}
}

// again is what a later run with these flags makes of the stack.
func again(t *testing.T, settings map[string]any, flags func(*deployOptions)) (map[string]string, error) {
	t.Helper()
	e, _, _ := testEnv(t, nil)
	o := deployOptions{common: common{Flags: settings}, Name: "s", Admin: "a@example.com", APIUsers: []string{"*"}, Reserved: -1, LogDays: 90, given: map[string]bool{}}
	if flags != nil {
		flags(&o)
	}
	cfg, err := e.load(o.common)
	if err != nil {
		t.Fatal(err)
	}
	if o, err = o.keeping(deployed(), cfg.Changed(e.Getenv)); err != nil {
		return nil, err
	}
	if cfg, err = e.deployable(o.common); err != nil {
		return nil, err
	}
	p := &deployment{Env: e, o: o, cfg: cfg, self: "arn:aws:iam::123456789012:user/me", d: &deploy.Deployer{}}
	order, err := p.order(nil, "code")
	return order.Parameters, err
}

// A flag that a later run does not repeat keeps its value.
func TestALaterDeployKeepsWhatIsNotSaid(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		settings map[string]any
		flags    func(*deployOptions)
		want     map[string]string // what changes
	}{
		{"nothing is said", nil, nil, nil},
		{"another interval starts the schedule afresh", map[string]any{"rotate_every": "20m"}, nil, map[string]string{"RotateEvery": "20m0s", "DeactivateAfter": "", "DeleteAfter": ""}},
		{"users by name take the place of a path", map[string]any{"users.names": "ann"}, nil, map[string]string{"UserNames": "ann", "UserPath": ""}},
		{"a flag that goes back to the default", map[string]any{"existing_keys": "refuse"}, nil, map[string]string{"ExistingKeys": "refuse"}},
		{"a boundary that is taken away", nil, func(o *deployOptions) { o.given["permissions-boundary"] = true }, map[string]string{"PermissionsBoundary": ""}},
		{"other networks", nil, func(o *deployOptions) {
			o.given["allow-from"], o.AllowFrom = true, []string{"10.1.0.0/16"}
		}, map[string]string{"AllowedSources": "10.1.0.0/16"}},
	} {
		got, err := again(t, tc.settings, tc.flags)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		changed := map[string]string(nil)
		for name, was := range deployed().Parameters {
			if is, told := got[name]; told && is != was {
				if changed == nil {
					changed = map[string]string{}
				}
				changed[name] = is
			}
		}
		if diff := cmp.Diff(tc.want, changed); diff != "" {
			t.Errorf("%s: what changes (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestWidenings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		now  map[string]string
		want string // each of these, with | between
	}{
		{"the same", nil, ""},
		{"fewer API users", map[string]string{"ApiUsers": "ci"}, ""},
		{"a user whom a pattern stood for", map[string]string{"ApiUsers": "ci,db-1"}, ""},
		{"more API users", map[string]string{"ApiUsers": "ci,db-*,web"}, "read the keys of web"},
		{"a wider pattern", map[string]string{"ApiUsers": "d*"}, "read the keys of d*"},
		{"all API users", map[string]string{"ApiUsers": "*"}, "read the keys of *"},
		{"a smaller network", map[string]string{"AllowedSources": "10.1.0.0/16"}, ""},
		{"another network", map[string]string{"AllowedSources": "10.0.0.0/8,198.51.100.0/24"}, "called from 198.51.100.0/24"},
		{"a larger network", map[string]string{"AllowedSources": "10.0.0.0/7"}, "called from 10.0.0.0/7"},
		{"everywhere", map[string]string{"AllowedSources": ""}, "from everywhere"},
		{"no boundary", map[string]string{"PermissionsBoundary": ""}, "lose their permissions boundary"},
		{"another boundary", map[string]string{"PermissionsBoundary": "arn:aws:iam::1:policy/c"}, "another permissions boundary"},
		{"a path below", map[string]string{"UserPath": "/machines/a/"}, ""},
		{"a tag as well", map[string]string{"UserTag": "keyrot:managed=true"}, ""},
		{"a path above", map[string]string{"UserPath": "/"}, "all users under / are rotated"},
		{"a tag instead of the path", map[string]string{"UserPath": "", "UserTag": "keyrot:managed=true"}, "with the tag keyrot:managed=true"},
		{"a name as well", map[string]string{"UserNames": "ann"}, "users ann are rotated"},
		{"everybody", map[string]string{"UserPath": "", "AllUsers": "true"}, "every user of the account"},
		{"an exclusion less", map[string]string{"UserExclude": ""}, "root-* are no longer excluded"},
		{"keys of others", map[string]string{"ExistingKeys": "retire"}, ""},
		{"several at once", map[string]string{"ApiUsers": "*", "PermissionsBoundary": ""}, "read the keys of *|lose their"},
	} {
		old := deployed().Parameters
		now := maps.Clone(old)
		maps.Copy(now, tc.now)
		got := widenings(old, now)
		want := strings.FieldsFunc(tc.want, func(r rune) bool { return r == '|' })
		if len(got) != len(want) {
			t.Errorf("%s: widenings = %q, want %q", tc.name, got, want)
			continue
		}
		for i, w := range want {
			if !strings.Contains(got[i], w) {
				t.Errorf("%s: widenings = %q, want %q", tc.name, got, want)
			}
		}
	}
	if got := widenings(map[string]string{"ExistingKeys": "refuse"}, map[string]string{"ExistingKeys": "retire"}); len(got) != 1 {
		t.Errorf("refuse to retire: widenings = %q, want one", got)
	}
}

func TestWideningIsAcceptedByItself(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		more        []string
		yes, accept bool
		answer      string
		ok          bool
	}{
		{"nothing is wider", nil, true, false, "", true},
		{"yes alone does not do", []string{"x"}, true, false, "yes\n", false},
		{"it is accepted by a flag", []string{"x"}, true, true, "", true},
		{"it is accepted at the terminal", []string{"x"}, false, false, "yes\n", true},
		{"it is not accepted", []string{"x"}, false, false, "no\n", false},
		{"nobody answers", []string{"x"}, false, false, "", false},
	} {
		var errs bytes.Buffer
		p := &deployment{Env: Env{In: strings.NewReader(tc.answer), Err: &errs, Getenv: func(string) string { return "" }}, o: deployOptions{Yes: tc.yes, AcceptWidening: tc.accept}}
		err := p.widen(t.Context(), tc.more)
		if (err == nil) != tc.ok || err != nil && exitCode(err) != 2 {
			t.Errorf("%s: widen = %v, want ok %t", tc.name, err, tc.ok)
		}
		if len(tc.more) > 0 && !strings.Contains(errs.String(), "WIDER: x") {
			t.Errorf("%s: it says %q, want what is wider", tc.name, errs.String())
		}
	}
}

// A configuration that selects nobody is enough for a stack that knows whom.
func TestLaterDeployNeedsNoSelection(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv(t, nil)
	if _, err := e.deployable(common{}); exitCode(err) != exitCode(rotate.ErrNoUsers) {
		t.Errorf("deployable = %v, want %v for a new stack", err, rotate.ErrNoUsers)
	}
	got, err := again(t, nil, nil)
	if err != nil || got["UserPath"] != "/machines/" {
		t.Errorf("a later run selects %q, %v", got["UserPath"], err)
	}
}
