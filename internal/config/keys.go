package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// key is one leaf of the configuration: a value, a list of values, or a list
// of groups.
type key struct {
	name  string // dotted
	index []int  // reflect's path to the field
	list  bool   // a list of groups
}

func (k key) value(config reflect.Value) reflect.Value { return config.FieldByIndex(k.index) }

// keysOf lists the leaves of a struct.
func keysOf(t reflect.Type, prefix string) []key {
	var keys []key
	for f := range t.Fields() {
		name, squash := tagOf(f)
		if group(f.Type) {
			if !squash {
				name += "."
			}
			for _, k := range keysOf(f.Type, prefix+name) {
				k.index = append(slices.Clone(f.Index), k.index...)
				keys = append(keys, k)
			}
			continue
		}
		list := f.Type.Kind() == reflect.Slice && group(f.Type.Elem())
		keys = append(keys, key{name: prefix + name, index: f.Index, list: list})
	}
	return keys
}

func tagOf(f reflect.StructField) (name string, squash bool) {
	name, option, _ := strings.Cut(f.Tag.Get("mapstructure"), ",")
	return name, option == "squash"
}

func group(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]()
}

// members returns the types behind the keys directly under t.
func members(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, squash := tagOf(f)
		if squash {
			for n, inner := range members(f.Type) {
				out[n] = inner
			}
			continue
		}
		out[name] = f.Type
	}
	return out
}

// checkKeys adds an error for every key under node that t does not know, and
// takes it out of the tree, so that the rest can be judged, too. It reports
// whether node itself can be what t is.
func checkKeys(errs *[]error, file, prefix string, node *yaml.Node, t reflect.Type) bool {
	switch {
	case node.Kind == yaml.DocumentNode:
		node.Content = slices.DeleteFunc(node.Content, func(child *yaml.Node) bool {
			return !checkKeys(errs, file, prefix, child, t)
		})
	case node.Kind == yaml.AliasNode:
		return checkKeys(errs, file, prefix, node.Alias, t)
	case t.Kind() == reflect.Slice && node.Kind == yaml.SequenceNode:
		var kept []*yaml.Node
		for i, child := range node.Content {
			if checkKeys(errs, file, fmt.Sprintf("%s[%d]", prefix, i), child, t.Elem()) {
				kept = append(kept, child)
			}
		}
		node.Content = kept
	case group(t) && node.Kind == yaml.MappingNode:
		node.Content = knownPairs(errs, file, prefix, node, t)
	case group(t) && node.Tag != "!!null":
		*errs = append(*errs, fmt.Errorf("%s line %d: %s must be a group of keys", file, node.Line, at(prefix)))
		return false
	case !group(t) && t.Kind() != reflect.Slice && node.Kind != yaml.ScalarNode:
		*errs = append(*errs, fmt.Errorf("%s line %d: %s must be a single value", file, node.Line, at(prefix)))
		return false
	}
	return true
}

// knownPairs returns the keys and values of a mapping that t knows.
func knownPairs(errs *[]error, file, prefix string, node *yaml.Node, t reflect.Type) (kept []*yaml.Node) {
	known := members(t)
	for i := 0; i+1 < len(node.Content); i += 2 {
		name := node.Content[i].Value
		full := strings.TrimPrefix(prefix+"."+name, ".")
		// viper does not tell capitals apart; neither do we.
		inner, ok := known[strings.ToLower(name)]
		if !ok {
			*errs = append(*errs, fmt.Errorf("%s line %d: unknown key %q; known here: %s",
				file, node.Content[i].Line, full, strings.Join(sorted(known), ", ")))
			continue
		}
		if checkKeys(errs, file, full, node.Content[i+1], inner) {
			kept = append(kept, node.Content[i], node.Content[i+1])
		}
	}
	return kept
}

func at(prefix string) string {
	if prefix == "" {
		return "the file"
	}
	return prefix
}

func sorted(m map[string]reflect.Type) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
