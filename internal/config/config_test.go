package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// load loads a file of that text with those variables and flags.
func load(t *testing.T, yaml string, env map[string]string, flags map[string]any) (config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keyrot.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string {
		if name == "XDG_STATE_HOME" {
			return "/state"
		}
		return env[name]
	}
	return config.Load(config.Source{File: file, Getenv: getenv, Flags: flags})
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	c, err := load(t, "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Errorf("Validate() = %v, want nil", err)
	}
	if c.Store.Path != "/state/keyrot/keyrot.db" || c.Store.KeyFile != "/state/keyrot/keyrot.key" || c.Audit.Path != "/state/keyrot/audit.jsonl" {
		t.Errorf("paths = %+v, %+v", c.Store, c.Audit)
	}
	if !c.Users.Empty() {
		t.Error("the default selects users")
	}
	p := c.Policy("ci")
	want := [4]time.Duration{10 * time.Minute, 12 * time.Minute, 15 * time.Minute, 10 * time.Second}
	if got := [4]time.Duration{p.RotateEvery, p.DeactivateAfter, p.DeleteAfter, p.Settle}; got != want {
		t.Errorf("Policy = %v, want %v", got, want)
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	yaml := "rotate_every: 1h\nworkers: 3\nLog:\n  Level: warn\nserver:\n  listen: 127.0.0.1:1\nusers: {names: [CostCentre, b]}\n"
	env := map[string]string{
		"KEYROT_WORKERS": "4", "KEYROT_SERVER_LISTEN": "127.0.0.1:2", "KEYROT_USERS_EXCLUDE": "a, b",
		"KEYROT_AUDIT_SYNC": "second", "KEYROT_SERVER_ALLOW_PLAIN_HTTP": "true", "KEYROT_IAM_RATE": "2.5", "KEYROT_LOG_FORMAT": "",
		"KEYROT_PORT": "tcp://10.0.0.1:80", // as Kubernetes sets it for a service named keyrot
	}
	c, err := load(t, yaml, env, map[string]any{"server.listen": "127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.RotateEvery, c.Workers, c.Log.Level, c.Log.Format, c.Server.Listen, c.Users.Names, c.Users.Exclude, c.Audit.Sync, c.Server.AllowPlainHTTP, c.IAM.Rate, c.IAM.Burst}
	want := []any{time.Hour, 4, "warn", "json", "127.0.0.1:3", []string{"CostCentre", "b"}, []string{"a", "b"}, "second", true, 2.5, 5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

// A command's own defaults give way to everything that was said.
func TestDefaultsOfACommand(t *testing.T) {
	t.Parallel()
	env := map[string]string{"KEYROT_AUDIT_SYNC": "always"}
	c, err := config.Load(config.Source{
		File: os.DevNull, Getenv: func(name string) string { return env[name] },
		Flags:    map[string]any{"iam.burst": "7"},
		Defaults: map[string]any{"audit.sync": "second", "iam.burst": "100", "settle": "0s"},
	})
	if err != nil || c.Audit.Sync != "always" || c.IAM.Burst != 7 || c.Settle != 0 {
		t.Errorf("Load = %+v, %v", c, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, yaml string
		env        map[string]string
		want       []string
	}{
		{"an unknown key", "rotate_evry: 10m\n", nil, []string{`line 1: unknown key "rotate_evry"`, "known here:", "rotate_every"}},
		{"an unknown nested key", "a: 1\nusers:\n  nmaes: [x]\n", nil, []string{`unknown key "a"`, `line 3: unknown key "users.nmaes"`}},
		{"unknown keys and bad values at once", "a: 1\nrotate_every: 10\nusers: {nme: x}\n", nil, []string{`unknown key "a"`, `unknown key "users.nme"`, "rotate_every"}},
		{"an unknown empty group", "usres: {}\n", nil, []string{`unknown key "usres"`}},
		{"an unknown key in an override", "overrides:\n- name: x\n  rotate: 1h\n", nil, []string{`unknown key "overrides[0].rotate"`}},
		{"a number as duration", "rotate_every: 600\n", nil, []string{"rotate_every", `"600" has no unit`, "600m"}},
		{"a number as duration in a variable", "", map[string]string{"KEYROT_SETTLE": "10"}, []string{"settle", `"10" has no unit`}},
		{"every mistake at once", "rotate_every: x\ndelete_after: -1s\nworkers: many\n", nil, []string{"rotate_every", "delete_after", "workers"}},
		{"a value where a group belongs", "users: ci\n", nil, []string{"users must be a group"}},
		{"a group where a value belongs", "workers: {a: 1}\n", nil, []string{"workers must be a single value"}},
		{"a list for a file", "- a\n", nil, []string{"the file must be a group"}},
		{"broken YAML", "a: [\n", nil, []string{"keyrot.yaml"}},
		{"a key twice", "workers: 1\nworkers: 2\n", nil, []string{"already defined"}},
		{"two documents", "workers: 1\n---\nworkers: 2\n", nil, []string{"more than one document"}},
	} {
		_, err := load(t, tc.yaml, tc.env, nil)
		if err == nil {
			t.Errorf("%s: Load = nil, want an error", tc.name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: Load = %q, want it to hold %q", tc.name, err, want)
			}
		}
	}
	if _, err := config.Load(config.Source{File: filepath.Join(t.TempDir(), "none.yaml"), Getenv: func(string) string { return "" }}); err == nil {
		t.Error("Load of a named file that is missing = nil, want an error")
	}
}

func TestFileIsFound(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	dir := filepath.Join(home, "cfg", "keyrot")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, config.FileName), []byte("workers: 5"), 0o600); err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string {
		return map[string]string{"XDG_CONFIG_HOME": filepath.Join(home, "cfg")}[name]
	}
	if c, err := config.Load(config.Source{Getenv: getenv}); err != nil || c.Workers != 5 {
		t.Errorf("Load = %d workers, %v, want 5 from the file", c.Workers, err)
	}
}

func TestTheWorkingFolderIsNotSearched(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, config.FileName), []byte("workers: 5"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	vars := map[string]string{"XDG_CONFIG_HOME": filepath.Join(dir, "none")}
	getenv := func(name string) string { return vars[name] }
	if c, err := config.Load(config.Source{Getenv: getenv}); err != nil || c.Workers != 8 {
		t.Errorf("Load = %d workers, %v, want the default", c.Workers, err)
	}
	vars["KEYROT_CONFIG"] = config.FileName
	if c, err := config.Load(config.Source{Getenv: getenv}); err != nil || c.Workers != 5 {
		t.Errorf("Load with KEYROT_CONFIG = %d workers, %v, want 5", c.Workers, err)
	}
	vars["KEYROT_CONFIG"] = "none.yaml"
	if _, err := config.Load(config.Source{Getenv: getenv}); err == nil {
		t.Error("Load of a named file that is missing = nil, want an error")
	}
}

func TestValidateReportsAllAtOnce(t *testing.T) {
	t.Parallel()
	yaml := `
deactivate_after: 5m
on_in_use: shout
existing_keys: import
audit: {sync: never}
workers: 0
iam: {rate: 0, burst: 0}
log: {level: loud, format: xml}
server: {listen: "0.0.0.0:80", tls_cert: x}
users: {all: true, names: [""], path_prefix: machines, tag: "=x", exclude: ["["]}
overrides:
- {schedule: two-active}
- {name: "[", schedule: no}
- {name: x, rotate_every: 1s}
`
	c, err := load(t, yaml, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Validate()
	if err == nil {
		t.Fatal("Validate() = nil")
	}
	for _, want := range []string{
		"deactivate_after > rotate_every fails", "on_in_use:", "audit.sync:", "existing_keys:", "workers:", "iam.rate:", "iam.burst:",
		"log.level:", "log.format:", "server.tls_cert, server.tls_key:", "users.all:", "users.names:",
		"users.path_prefix:", "users.tag:", "users.exclude:", "overrides[0].name:", "overrides[1].name:",
		"overrides[1].schedule:", "overrides[2].rotate_every >= 2s fails",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() does not mention %q:\n%v", want, err)
		}
	}
}

func TestListening(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, yaml string
		ok         bool
	}{
		{"loopback needs no TLS", "server: {listen: '127.0.0.1:0'}", true},
		{"IPv6 loopback needs no TLS", "server: {listen: '[::1]:80'}", true},
		{"localhost needs no TLS", "server: {listen: 'localhost:80'}", true},
		{"all addresses need TLS", "server: {listen: ':80'}", false},
		{"another address needs TLS", "server: {listen: '10.0.0.1:80'}", false},
		{"TLS may listen anywhere", "server: {listen: ':443', tls_cert: a, tls_key: b}", true},
		{"a proxy may be promised", "server: {listen: ':80', allow_plain_http: true}", true},
		{"a port must be there", "server: {listen: localhost}", false},
		{"profiles are taken on loopback", "server: {pprof: '127.0.0.1:6060'}", true},
		{"profiles are taken on IPv6 loopback", "server: {pprof: '[::1]:6060'}", true},
		{"profiles are not taken from elsewhere", "server: {pprof: '10.0.0.1:6060'}", false},
		{"profiles are not taken on all addresses", "server: {pprof: ':6060'}", false},
		{"what a name means may change", "server: {pprof: 'localhost:6060'}", false},
		{"profiles need a port", "server: {pprof: '127.0.0.1'}", false},
	} {
		c, err := load(t, tc.yaml, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); (err == nil) != tc.ok {
			t.Errorf("%s: Validate() = %v, want ok %t", tc.name, err, tc.ok)
		}
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	yaml := `
rotate_every: 90d
overrides:
- {name: "ci-*", schedule: two-active, on_in_use: hold}
- {name: "ci-x", rotate_every: 1s}
- {name: "slow", rotate_every: 2w, delete_after: 20d, settle: 30s}
- {name: "same", deactivate_after: 100d}
`
	c, err := load(t, yaml, nil, map[string]any{"settle": "0s"})
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name, user string
		r, d, x    time.Duration
		settle     time.Duration
		inUse      plan.OnInUse
	}{
		{"what is left out keeps the preset's proportion", "any", 90 * day, 108 * day, 135 * day, -1, plan.Warn},
		{"the first matching override wins", "ci-x", 10 * time.Minute, 20 * time.Minute, 20 * time.Minute, -1, plan.Hold},
		{"an interval starts afresh", "slow", 14 * day, 14 * day * 12 / 10, 20 * day, 30 * time.Second, plan.Warn},
		{"one time changes alone", "same", 90 * day, 100 * day, 135 * day, -1, plan.Warn},
	} {
		p := c.Policy(tc.user)
		got := []any{p.RotateEvery, p.DeactivateAfter, p.DeleteAfter, p.Settle, p.OnInUse}
		if diff := cmp.Diff([]any{tc.r, tc.d, tc.x, tc.settle, tc.inUse}, got); diff != "" {
			t.Errorf("%s: Policy(%q) (-want +got):\n%s", tc.name, tc.user, diff)
		}
		if p.Phase != plan.PhaseOf(tc.user, p.RotateEvery) {
			t.Errorf("%s: Phase = %s", tc.name, p.Phase)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"10m": 10 * time.Minute, "90d": 90 * day, "2w": 14 * day, "1w2d3h": 9*day + 3*time.Hour, "0": 0, "0s": 0, " 1h ": time.Hour,
	} {
		if got, err := config.ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10", "1.5", "1e3", "-1h", "-1d", "d", "1x", "1d2w", "9999999w", "99999999999999999999d", "106751d24h", "ten"} {
		if got, err := config.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %s, want an error", text, got)
		}
	}
}

func TestClientValidate(t *testing.T) {
	t.Parallel()
	for endpoint, ok := range map[string]bool{"https://k.example": true, "http://[::1]:80": true, "": false, "k.example:80": false, "ftp://x": false, "http://": false} {
		if err := (config.Client{Endpoint: endpoint}).Validate(); (err == nil) != ok {
			t.Errorf("Validate(%q) = %v, want ok %t", endpoint, err, ok)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("rotate_every: 10m\nusers: {names: [a]}\noverrides: [{name: x, rotate_every: 1h}]\n")
	f.Add("users: *a\n")
	f.Add("a: &a [*a]\n")
	f.Add("overrides: &a [&b {name: 00123, <<: *b}, {<<: [*b, *a]}, *a]\n")
	f.Add("workers: 1\nusers: {exclude: [null, !!str ~, 1e3]}\n")
	f.Fuzz(func(t *testing.T, yaml string) {
		c, err := load(t, yaml, nil, nil)
		if err != nil {
			return
		}
		if c.Validate() != nil {
			return
		}
		p := c.Policy("ci")
		if err := p.Validate(config.Tick); err != nil {
			t.Errorf("a valid configuration has an impossible policy: %v", err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	f.Add("1w2d3h")
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := config.ParseDuration(text); err == nil && d < 0 {
			t.Errorf("ParseDuration(%q) = %s", text, d)
		}
	})
}

func TestAPasswordInTheEndpointIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"https://user:pw@x.example", "user:pw@x.example", "https://user:p w@x"} {
		if err := (config.Client{Endpoint: endpoint}).Validate(); err == nil || strings.Contains(err.Error(), "pw") || strings.Contains(err.Error(), "p w") {
			t.Errorf("Validate of %q = %v", endpoint, err)
		}
	}
}

func TestAShellsSpellingOfAFolderIsRefused(t *testing.T) {
	t.Parallel()
	for _, yaml := range []string{"store: {path: ~/keyrot.db}", "store: {key_file: $HOME/keyrot.key}", "audit: {path: ~me/audit.jsonl}"} {
		c, err := load(t, yaml, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "write the folder out") {
			t.Errorf("%s: Validate = %v", yaml, err)
		}
	}
}
