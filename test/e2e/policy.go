//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Template is a CloudFormation template with the values of a stack. What it
// evaluates is what keyrot's template uses, not all that there is.
type Template struct {
	doc    map[string]yaml.Node
	values map[string]any // of Ref and GetAtt
	conds  map[string]yaml.Node
}

var errNoValue = errors.New("AWS::NoValue")

// NewTemplate reads a template. values are parameters, pseudo-parameters and
// resources; parameters that are not among them have their defaults. Lists have
// commas between.
func NewTemplate(text string, values map[string]string) (*Template, error) {
	t := &Template{values: map[string]any{}, conds: map[string]yaml.Node{}}
	if err := yaml.Unmarshal([]byte(text), &t.doc); err != nil {
		return nil, err
	}
	var params map[string]struct {
		Type    string `yaml:"Type"`
		Default string `yaml:"Default"`
	}
	section := t.doc["Parameters"]
	if err := section.Decode(&params); err != nil {
		return nil, err
	}
	for name, p := range params {
		v, given := values[name]
		if !given {
			v = p.Default
		}
		t.values[name] = v
		if p.Type == "CommaDelimitedList" {
			t.values[name] = list(strings.Split(v, ","))
		}
	}
	for name, v := range values {
		if t.values[name] == nil {
			t.values[name] = v
		}
	}
	section = t.doc["Conditions"]
	return t, section.Decode(&t.conds)
}

func list(s []string) []any {
	all := make([]any, len(s))
	for i := range s {
		all[i] = s[i]
	}
	return all
}

// eval returns the value of a node: a string, a bool, []any or map[string]any.
func (t *Template) eval(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			v, err := t.eval(n.Content[i+1])
			if err != nil && !errors.Is(err, errNoValue) {
				return nil, err
			}
			if err == nil {
				m[n.Content[i].Value] = v
			}
		}
		return m, nil
	case yaml.SequenceNode:
		if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
			return t.call(n.Tag, n.Content)
		}
		all := []any{}
		for _, c := range n.Content {
			v, err := t.eval(c)
			if err != nil && !errors.Is(err, errNoValue) {
				return nil, err
			}
			if err == nil {
				all = append(all, v)
			}
		}
		return all, nil
	}
	if strings.HasPrefix(n.Tag, "!!") {
		return n.Value, nil
	}
	return t.call(n.Tag, []*yaml.Node{n})
}

// call evaluates an intrinsic function.
func (t *Template) call(tag string, args []*yaml.Node) (any, error) {
	switch tag {
	case "!Ref", "!GetAtt":
		return t.value(args[0].Value)
	case "!Sub":
		return t.sub(args)
	case "!Condition":
		c, ok := t.conds[args[0].Value]
		if !ok {
			return nil, fmt.Errorf("no condition %s", args[0].Value)
		}
		return t.eval(&c)
	case "!If":
		c, ok := t.conds[args[0].Value]
		if !ok {
			return nil, fmt.Errorf("no condition %s", args[0].Value)
		}
		yes, err := t.eval(&c)
		if err != nil {
			return nil, err
		}
		return t.eval(args[map[any]int{true: 1, false: 2}[yes]])
	}
	return t.plain(tag, args)
}

// plain evaluates a function of values.
func (t *Template) plain(tag string, args []*yaml.Node) (any, error) {
	var v []any
	for _, a := range args {
		x, err := t.eval(a)
		if err != nil {
			return nil, err
		}
		v = append(v, x)
	}
	switch tag {
	case "!Not":
		return v[0] == false, nil
	case "!And":
		return !slices.Contains(v, any(false)), nil
	case "!Or":
		return slices.Contains(v, any(true)), nil
	case "!Equals":
		return fmt.Sprint(v[0]) == fmt.Sprint(v[1]), nil
	case "!Join":
		return strings.Join(texts(v[1]), v[0].(string)), nil
	case "!Split":
		return list(strings.Split(v[1].(string), v[0].(string))), nil
	case "!Select":
		var i int
		if _, err := fmt.Sscan(v[0].(string), &i); err != nil || i >= len(texts(v[1])) {
			return nil, fmt.Errorf("!Select %v", v)
		}
		return texts(v[1])[i], nil
	}
	return nil, fmt.Errorf("function %s is not known here", tag)
}

// value is what Ref and GetAtt mean. What the scene does not have cannot be
// the resource of any call.
func (t *Template) value(name string) (any, error) {
	if name == "AWS::NoValue" {
		return nil, errNoValue
	}
	if v, ok := t.values[name]; ok {
		return v, nil
	}
	return "none:" + name, nil
}

func (t *Template) sub(args []*yaml.Node) (any, error) {
	text, more := args[0].Value, map[string]any{}
	if len(args) > 1 {
		v, err := t.eval(args[1])
		if err != nil {
			return nil, err
		}
		more = v.(map[string]any)
	}
	for name, v := range more {
		text = strings.ReplaceAll(text, "${"+name+"}", v.(string))
	}
	for strings.Contains(text, "${") {
		_, rest, _ := strings.Cut(text, "${")
		name, _, _ := strings.Cut(rest, "}")
		v, err := t.value(name)
		if err != nil {
			return nil, err
		}
		text = strings.ReplaceAll(text, "${"+name+"}", v.(string))
	}
	return text, nil
}

// texts is v, a text or a list of texts, as a list.
func texts(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var all []string
	for _, x := range v.([]any) {
		all = append(all, x.(string))
	}
	return all
}

// Policy is the statements of a role.
type Policy []map[string]any

// Policy returns the policy of the template's role.
func (t *Template) Policy(role string) (p Policy, err error) {
	var all map[string]struct {
		Properties struct {
			Policies []struct {
				PolicyDocument struct {
					Statement yaml.Node `yaml:"Statement"`
				} `yaml:"PolicyDocument"`
			} `yaml:"Policies"`
		} `yaml:"Properties"`
	}
	section := t.doc["Resources"]
	if err := section.Decode(&all); err != nil {
		return nil, err
	}
	v, err := t.eval(&all[role].Properties.Policies[0].PolicyDocument.Statement)
	if err != nil {
		return nil, err
	}
	for _, s := range v.([]any) {
		p = append(p, s.(map[string]any))
	}
	return p, nil
}

// Actions lists what is allowed, on whatever.
func (p Policy) Actions() (all []string) {
	for _, s := range p {
		if s["Effect"] == "Allow" {
			all = append(all, texts(s["Action"])...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Allows says why the call would be refused, as IAM evaluates policies. tags
// are those of a resource.
func (p Policy) Allows(c Call, tags func(arn string) map[string]string) error {
	allowed := false
	for _, s := range p {
		if !matches(texts(s["Action"]), c.Action) || !matches(texts(s["Resource"]), c.Resource) {
			continue
		}
		conditions, _ := s["Condition"].(map[string]any)
		ok, err := satisfied(conditions, c, tags)
		if err != nil {
			return err
		}
		if ok && s["Effect"] == "Deny" {
			return fmt.Errorf("statement %v denies it", s["Sid"])
		}
		allowed = allowed || ok
	}
	if !allowed {
		return errors.New("no statement allows it")
	}
	return nil
}

func satisfied(conditions map[string]any, c Call, tags func(string) map[string]string) (bool, error) {
	for operator, keys := range conditions {
		if operator != "StringEquals" && operator != "ForAllValues:StringEquals" { // no call here has several values of a key
			return false, fmt.Errorf("operator %s is not known here", operator)
		}
		for key, want := range keys.(map[string]any) {
			got := ""
			switch tag, ok := strings.CutPrefix(key, "aws:ResourceTag/"); {
			case ok:
				got = tags(c.Resource)[tag]
			case key == "ses:FromAddress":
				got = c.From
			case key == "dynamodb:LeadingKeys":
				got = c.Leading
			default:
				return false, fmt.Errorf("condition key %s is not known here", key)
			}
			if !slices.Contains(texts(want), got) {
				return false, nil
			}
		}
	}
	return true, nil
}

// matches reports whether one of IAM's patterns matches: * and ? stand for
// anything, slashes too.
func matches(patterns []string, s string) bool {
	flat := strings.NewReplacer("/", "\x00", "[", "\x01", "\\", "\x02")
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(flat.Replace(p), flat.Replace(s))
		return err == nil && ok
	})
}
