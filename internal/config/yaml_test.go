package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/internal/config"
)

// What YAML takes for a number, a date, a switch or nothing is a name all the
// same, if a name belongs there.
func TestTextIsWhatWasWritten(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"00123", "0123", "1e3", "1_000", "0b1", "0o17", "0x1F", "1.50", ".5", "+1", "-0", "12:30:45", "190:20:30",
		"2026-11-26", "2001-12-14t21:59:43.10-05:00", "true", "False", "yes", "no", "on", "off", "y", "n", "nan", ".inf", "-.INF", "<<", "=",
	} {
		c, err := load(t, "users: {exclude: ["+text+"], tag: a="+text+"}\nnotify: {instance: "+text+"}\noverrides:\n- name: "+text+"\n", nil, nil)
		if err != nil {
			t.Errorf("%s: Load = %v", text, err)
			continue
		}
		got := []string{c.Users.Exclude[0], c.Users.Tag, c.Notify.Instance, c.Overrides[0].Name}
		if diff := cmp.Diff([]string{text, "a=" + text, text, text}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for _, quoted := range []string{`"null"`, `'~'`, `!!str null`} {
		c, err := load(t, "users: {exclude: ["+quoted+"]}", nil, nil)
		if want := strings.Trim(strings.TrimPrefix(quoted, "!!str "), `"'`); err != nil || c.Users.Exclude[0] != want {
			t.Errorf("%s: Load = %q, %v, want %q", quoted, c.Users.Exclude, err, want)
		}
	}
}

func TestValuesThatAreNotGuessed(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]string{
		"users: {exclude: [null]}":                    "users.exclude[0]: null means nothing in YAML; leave the key out, or quote the word",
		"users: {exclude: [a, ~]}":                    "users.exclude[1]: ~ means nothing",
		"users:\n  exclude:\n  -\n  - b\n":            "line 3: users.exclude[0] is empty",
		"notify: {instance: Null}":                    "notify.instance: Null means nothing",
		"users: {exclude: [!!int 12]}":                "has the tag !!int",
		"users: {exclude: [!!binary aGk=]}":           "has the tag !!binary",
		"workers: !mine 3":                            "has the tag !mine",
		"workers: 010":                                `"010" is not a whole number`,
		"workers: 0x10":                               `"0x10" is not a whole number`,
		"workers: 1_0":                                `"1_0" is not a whole number`,
		"workers: 8.0":                                `"8.0" is not a whole number`,
		"iam: {rate: 1e3}":                            `"1e3" is not a number`,
		"iam: {rate: .nan}":                           `".nan" is not a number`,
		"server: {allow_plain_http: yes}":             `"yes" is not true or false`,
		"rotate_every: 1_0m":                          `"1_0m"`,
		"publish: {type: file}":                       "publish must be a list",
		"workers: 1\nWorkers: 2":                      `line 2: key "Workers" is already defined at line 1`,
		"users: {names: [a]}\nusers: {names: [b]}":    `key "users" is already defined`,
		"overrides: [{name: a, name: b}]":             `key "overrides[0].name" is already defined`,
		"server: &a {id: x, <<: *a}":                  "merges too many",
		"overrides: [{<<: 3}]":                        "<< merges mappings only",
		"overrides: [&a {name: x}, {<<: *a, <<: *a}]": `"overrides[1].<<" is already defined`,
		"overrides: [{name: x, <<: {nme: y}}]":        `unknown key "overrides[0].nme"`,
		"users: {names: &a [a, b], exclude: [*a]}":    "users.exclude[0] must be a single value",
		"users: {names: &a [" + strings.Repeat("x,", 2000) + "]}\nwindows: [" + strings.Repeat("{users: *a},", 60) + "]": "aliases make the file too large",
	} {
		if _, err := load(t, yaml, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: Load = %v, want %q", yaml, err, want)
		}
	}
	for _, variable := range []string{"KEYROT_WORKERS", "KEYROT_IAM_BURST"} {
		if c, err := load(t, "", map[string]string{variable: "010"}, nil); err == nil {
			t.Errorf("%s=010: Load = %d, %d, want an error", variable, c.Workers, c.IAM.Burst)
		}
	}
}

func TestMergeKeys(t *testing.T) {
	t.Parallel()
	yaml := `
overrides:
- &slow
  name: slow-*
  rotate_every: 1h
  settle: 30s
- &careful {name: careful, settle: 1m, on_in_use: hold}
- {<<: *slow, name: ci}
- {name: db, <<: [*careful, *slow], settle: 20s}
- {<<: {rotate_every: 2h}, name: own}
users: {names: [a], path_prefix: , exclude: ~, tag: }
log:
`
	c, err := load(t, yaml, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range c.Overrides {
		got = append(got, o.Name+" "+o.RotateEvery.String()+" "+o.Settle.String()+" "+o.OnInUse)
	}
	want := []string{"slow-* 1h0m0s 30s ", "careful 0s 1m0s hold", "ci 1h0m0s 30s ", "db 1h0m0s 20s hold", "own 2h0m0s 0s "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("overrides (-want +got):\n%s", diff)
	}
	if c.Users.PathPrefix != "" || c.Users.Exclude != nil || c.Log.Level != "info" {
		t.Errorf("keys without a value are %+v, %+v, want their defaults", c.Users, c.Log)
	}
}

func TestUnmatched(t *testing.T) {
	t.Parallel()
	c := config.Config{
		Overrides: []config.Override{{Name: "ci-*"}, {Name: "nobody"}, {Name: "ci-1"}, {Name: "*"}},
		Windows:   []config.Window{{Users: []string{"ci-1", "cl-1"}}},
		Publish:   []config.Target{{}, {Users: []string{"x-?"}}},
		Server:    config.Server{Identities: []config.Identity{{Users: []string{"*"}}, {Users: []string{"web"}}}},
	}
	got := strings.Join(c.Unmatched([]string{"ci-1", "db"}), "\n")
	want := strings.Join([]string{
		`overrides[1].name: "nobody" matches no selected user`,
		`overrides[2].name: "ci-1" does nothing: overrides[0] comes first and matches the same users`,
		`windows[0].users: "cl-1" matches no selected user`,
		`publish[1].users: "x-?" matches no selected user`,
		`server.identities[1].users: "web" matches no selected user`,
	}, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Unmatched (-want +got):\n%s", diff)
	}
}
