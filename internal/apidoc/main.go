// Command apidoc writes docs/api.md from the OpenAPI description that the
// server itself answers with.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keyrot/keyrot/pkg/api"
)

func main() {
	out := flag.String("o", "docs/api.md", "file to write")
	flag.Parse()
	text, err := render(api.OpenAPI())
	if err == nil {
		err = os.WriteFile(*out, []byte(text), 0o644) // #nosec G306 -- documentation
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1) //nolint:forbidigo // a command of its own
	}
}

// spec is the part of an OpenAPI description that is shown.
type spec struct {
	Info struct {
		Title       string `yaml:"title"`
		Description string `yaml:"description"`
	} `yaml:"info"`
	Paths      map[string]map[string]operation `yaml:"paths"`
	Components struct {
		Security  map[string]struct{ Type, Name, Scheme, Description string } `yaml:"securitySchemes"`
		Responses map[string]response                                         `yaml:"responses"`
		Schemas   map[string]schema                                           `yaml:"schemas"`
	} `yaml:"components"`
}

type operation struct {
	Summary     string                `yaml:"summary"`
	Description string                `yaml:"description"`
	Security    []map[string][]string `yaml:"security"`
	Parameters  []struct {
		Name, In, Description string
		Required              bool
	} `yaml:"parameters"`
	Responses map[string]response `yaml:"responses"`
}

type response struct {
	Ref         string `yaml:"$ref"`
	Description string `yaml:"description"`
	Content     map[string]struct {
		Schema schema `yaml:"schema"`
	} `yaml:"content"`
}

type schema struct {
	Ref         string            `yaml:"$ref"`
	Type        string            `yaml:"type"`
	Description string            `yaml:"description"`
	Format      string            `yaml:"format"`
	Enum        []any             `yaml:"enum"`
	AnyOf       []schema          `yaml:"anyOf"`
	Required    []string          `yaml:"required"`
	Properties  map[string]schema `yaml:"properties"`
}

// render returns the description as Markdown.
func render(raw []byte) (string, error) {
	var s spec
	if err := yaml.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("reading the description: %w", err)
	}
	var b strings.Builder
	b.WriteString("<!-- Made by go generate ./pkg/api from pkg/api/openapi.yaml; do not edit. -->\n# HTTP API\n\n")
	b.WriteString(s.Info.Description)
	for _, path := range slices.Sorted(maps.Keys(s.Paths)) {
		methods := s.Paths[path]
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			if _, also := methods["head"]; method == "get" && also {
				s.operation(&b, path, "get, head", methods["get"])
			} else if method != "head" {
				s.operation(&b, path, method, methods[method])
			}
		}
	}
	b.WriteString("\n## Bodies\n")
	for _, name := range slices.Sorted(maps.Keys(s.Components.Schemas)) {
		fmt.Fprintf(&b, "\n### %s\n\n| field | type | meaning |\n|---|---|---|\n", name)
		body := s.Components.Schemas[name]
		for _, field := range order(body) {
			f := body.Properties[field]
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", field, f.kind(), f.meaning())
		}
	}
	return b.String(), nil
}

func (s spec) operation(b *strings.Builder, path, method string, op operation) {
	fmt.Fprintf(b, "\n## %s %s\n\n%s.", strings.ToUpper(method), path, op.Summary)
	if op.Description != "" {
		fmt.Fprintf(b, "\n\n%s", strings.TrimSpace(op.Description))
	}
	b.WriteString("\n\n")
	told := map[string]bool{}
	word := "needs" // of the first, "or" of an alternative to it, "and" within one
	for _, scheme := range op.Security {
		for _, name := range slices.Sorted(maps.Keys(scheme)) {
			sec := s.Components.Security[name]
			text := ": " + sec.Description
			if told[name] {
				text = " alone."
			}
			fmt.Fprintf(b, "- %s `%s`%s\n", word, cmp.Or(sec.Name, "Authorization: "+sec.Scheme), text)
			word, told[name] = "and", true
		}
		word = "or"
	}
	for _, p := range op.Parameters {
		need := "optional"
		if p.Required {
			need = "required"
		}
		fmt.Fprintf(b, "- `%s` (%s, %s): %s\n", p.Name, p.In, need, p.Description)
	}
	b.WriteString("\n| status | meaning | body |\n|---|---|---|\n")
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		if r.Ref != "" {
			r = s.Components.Responses[base(r.Ref)]
		}
		body := "none"
		for _, media := range slices.Sorted(maps.Keys(r.Content)) {
			body = r.Content[media].Schema.name(media)
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", status, r.Description, body)
	}
}

// order is the required fields as they are written down, then the others.
func order(s schema) []string {
	names := slices.Clone(s.Required)
	for _, n := range slices.Sorted(maps.Keys(s.Properties)) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

func (s schema) name(media string) string {
	if s.Ref != "" {
		return "[" + base(s.Ref) + "](#" + strings.ToLower(base(s.Ref)) + ")"
	}
	var names []string
	for _, a := range s.AnyOf {
		names = append(names, a.name(media))
	}
	return cmp.Or(strings.Join(names, " or "), "`"+media+"`")
}

func (s schema) kind() string {
	if s.Format != "" {
		return s.Format
	}
	return cmp.Or(s.Type, "string")
}

func (s schema) meaning() string {
	if len(s.Enum) == 0 {
		return s.Description
	}
	values := make([]string, len(s.Enum))
	for i, v := range s.Enum {
		values[i] = fmt.Sprintf("`%v`", v)
	}
	if len(values) == 1 {
		return s.Description + " Always " + values[0] + "."
	}
	return s.Description + " One of " + strings.Join(values, ", ") + "."
}

func base(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }
