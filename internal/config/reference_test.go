package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

const reference = "../../docs/configuration.md"

const referenceHead = `# Configuration

Weakest first: defaults, the file, ` + "`KEYROT_*`" + ` variables, flags. The file is the one that ` + "`--config`" + ` or
` + "`KEYROT_CONFIG`" + ` names, otherwise ` + "`keyrot.yaml`" + ` in ` + "`$XDG_CONFIG_HOME/keyrot` (`~/.config/keyrot`) or `/etc/keyrot`" + `,
never in the working folder. A settings, key or token file is refused if anybody but root and the user that keyrot runs as
owns it or can write it, or a folder above it; the error says which ` + "`chmod`" + ` or ` + "`chown`" + ` puts that right. The variable of a key is KEYROT_ and the key in capitals, ` + "`_`" + ` for the dot;
lists are comma-separated there. Durations need a unit: ` + "`20s`, `10m`, `36h`, `90d`, `2w`" + `. A key that is unknown is refused,
and so is a variable that begins with ` + "`KEYROT_`" + ` and is no setting (but for those that Kubernetes and Docker make); lists of groups (` + "`overrides`" + `) fit into a file only.
A zero in an override is refused, because zero there means that the override says nothing.

In the file, names are the text that is written, also where YAML would see a number, a date or a switch (` + "`00123`, `1e3`, `no`" + `);
only ` + "`null` and `~`" + ` must be quoted. Merge keys (` + "`<<`" + `) work. Names and patterns that match no user are reported when a command
selects users, by ` + "`keyrot doctor`" + ` and by ` + "`--dry-run`" + `.

AWS itself is reached with the SDK's own settings (profile, region, SSO, ` + "`AWS_ENDPOINT_URL*`" + `). The key that secrets are sealed
with may come from ` + "`KEYROT_SEAL_KEY`" + ` (base64) instead of ` + "`store.key_file`" + `.

This page is made from the comments of internal/config: ` + "`go test ./internal/config -run Reference -update`" + `.

`

// TestReference keeps docs/configuration.md true to the code.
func TestReference(t *testing.T) {
	t.Parallel()
	got := referenceHead + describeType(t, commentsOf(t), reflect.TypeFor[Config](), "")
	if *update {
		if err := os.WriteFile(reference, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("docs/configuration.md is out of date: go test ./internal/config -run Reference -update")
	}
}

// commentsOf returns the comment of every field, by type and field name.
func commentsOf(t *testing.T) map[string]string {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				var group string
				for _, field := range s.Fields.List {
					text := strings.Join(strings.Fields(field.Doc.Text()), " ")
					if text == "" {
						text = strings.Join(strings.Fields(field.Comment.Text()), " ")
					}
					if text == "" {
						text = group // a comment may stand for the fields after it, too
					}
					group = text
					for _, name := range field.Names {
						all[spec.Name.Name+"."+name.Name] = text
					}
				}
			}
			return true
		})
	}
	return all
}

func describeType(t *testing.T, comments map[string]string, typ reflect.Type, prefix string) string {
	t.Helper()
	var b strings.Builder
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("mapstructure"), ",")
		elem, list := f.Type, false
		if elem.Kind() == reflect.Slice {
			elem, list = elem.Elem(), true
		}
		switch {
		case opts == "squash":
			b.WriteString(describeType(t, comments, elem, prefix))
		case name == "" || name == "-":
		case elem.Kind() == reflect.Struct && elem.PkgPath() == typ.PkgPath():
			if list {
				fmt.Fprintf(&b, "- `%s` (list): %s\n", prefix+name, comments[typ.Name()+"."+f.Name])
				b.WriteString(describeType(t, comments, elem, prefix+name+"[]."))
				continue
			}
			b.WriteString(describeType(t, comments, elem, prefix+name+"."))
		default:
			text := comments[typ.Name()+"."+f.Name]
			if text == "" {
				t.Errorf("%s.%s has no comment", typ.Name(), f.Name)
			}
			text = strings.TrimPrefix(text, f.Name+" is ")
			fmt.Fprintf(&b, "- `%s`: %s\n", prefix+name, text)
		}
	}
	return b.String()
}
