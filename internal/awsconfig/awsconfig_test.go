package awsconfig

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What each line means is in the corpus of internal/getkey/profile, which
// test/e2e holds against botocore.
func TestParse(t *testing.T) {
	t.Parallel()
	f, err := Parse([]byte("[DEFAULT]\nregion = a\n" +
		"[profile  'x y' ]\r\n  S3 :\n    a = b\n\n    c=d\n ca_bundle = 1\n  2\n[default]\n[other]"))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Sections) != 3 || f.Defaults.Line != 1 {
		t.Fatalf("sections %v, [DEFAULT] in line %d", f.Sections, f.Defaults.Line)
	}
	for i, want := range []string{"x y", "default", ""} {
		if got := f.Sections[i].Profile(); got != want {
			t.Errorf("section %q is profile %q, want %q", f.Sections[i].Name, got, want)
		}
	}
	s := f.Sections[0]
	for name, want := range map[string]Option{
		"s3":        {Name: "s3", Value: "\na = b\n\nc=d", Line: 4, End: 7, Indent: "  "},
		"ca_bundle": {Name: "ca_bundle", Value: "1\n2", Line: 8, End: 9, Indent: " "},
		"region":    {Name: "region", Value: "a", Line: 2, End: 2},
	} {
		got := *f.Option(s, name)
		got.parts = nil
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Option{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if o := f.Option(s, "output"); o != nil {
		t.Errorf("output = %v, want none", o)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, line := range map[string]int{
		"a = b":                                 1,
		"\ufeff[a]\n":                           1,
		"[a]\nb\n":                              2,
		"[a]\n\n: b":                            3,
		"[a]\nb = 1\nB : 2":                     3,
		"[a]\n[b]\n[a]":                         3,
		"[DEFAULT]\nb=1\n[a]\n[DEFAULT]\nb = 1": 5,
		"[a]\nb =\n c: d\n":                     2,
		"[DEFAULT]\nb =\n c: d\n[a]":            2,
		"[a]\n# \xff":                           2,
	} {
		syntax := (*SyntaxError)(nil)
		if _, err := Parse([]byte(text)); !errors.As(err, &syntax) || syntax.Line != line {
			t.Errorf("Parse(%q) = %v, want an error in line %d", text, err, line)
		}
	}
}

// A block of [DEFAULT] that no section has is not looked into.
func TestParseOfADefaultThatNobodyHas(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"[DEFAULT]\nb =\n c: d\n", "[DEFAULT]\nb =\n c: d\n[a]\nb = 1\n"} {
		if _, err := Parse([]byte(text)); err != nil {
			t.Errorf("Parse(%q) = %v", text, err)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                           nil,
		" a  b\tc\n":                 {"a", "b", "c"},
		`"a b"'c d'e`:                {"a bc de"},
		`'' ""`:                      {"", ""},
		`a\ b "c\"d\e" '\f'`:         {"a b", `c"d\e`, `\f`},
		"profile 'it is' # no note":  {"profile", "it is", "#", "no", "note"},
		`/opt/x --user=ci --a="b c"`: {"/opt/x", "--user=ci", "--a=b c"},
	} {
		got, err := Words(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Words(%q): %v (-want +got):\n%s", text, err, diff)
		}
	}
	for _, text := range []string{`"a`, `it's`, `a\`} {
		if got, err := Words(text); err == nil {
			t.Errorf("Words(%q) = %q, want an error", text, got)
		}
	}
}
