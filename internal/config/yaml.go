package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds what aliases can make of a small file.
const maxNodes = 100_000

// file turns YAML into a tree of the keys that are known. Scalars stay the text
// that was written: what YAML takes them for (00123 is 83, a date is a time,
// yes is true) is decided by what the key holds, not by how its value looks.
type file struct {
	name  string
	errs  []error
	nodes int
	lines map[string]int // of the values, by key
}

// parse returns the file's content as a tree, and an error about what is not
// understood; without a tree nothing could be read.
func parse(name string, raw []byte) (map[string]any, error) {
	tree, _, err := read(name, raw)
	return tree, err
}

// read is parse, with the lines of all values.
func read(name string, raw []byte) (map[string]any, map[string]int, error) {
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil, nil // an empty file
	} else if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("reading %s: more than one document", name)
	}
	f := &file{name: name, lines: map[string]int{}}
	tree, _ := f.value("", &doc, reflect.TypeFor[Config]()).(map[string]any)
	if tree == nil {
		tree = map[string]any{}
	}
	return tree, f.lines, errors.Join(f.errs...)
}

func (f *file) bad(node *yaml.Node, format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf("%s line %d: %s", f.name, node.Line, fmt.Sprintf(format, args...)))
}

// value returns what the node says about a key of type t: a map, a list or a
// text; nil if it says nothing, or nothing that can be understood.
func (f *file) value(key string, node *yaml.Node, t reflect.Type) any {
	if node = f.resolve(key, node); node == nil {
		return nil
	}
	f.lines[key] = node.Line
	nothing := node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
	switch {
	case group(t) && node.Kind == yaml.MappingNode:
		return f.group(key, node, t)
	case t.Kind() == reflect.Slice && node.Kind == yaml.SequenceNode:
		return f.list(key, node, t.Elem())
	case nothing && (group(t) || t.Kind() == reflect.Slice || node.Value == ""):
		return nil
	case group(t):
		f.bad(node, "%s must be a group of keys", at(key))
	case t.Kind() == reflect.Slice && (node.Kind != yaml.ScalarNode || group(t.Elem())):
		f.bad(node, "%s must be a list", key)
	case node.Kind != yaml.ScalarNode:
		f.bad(node, "%s must be a single value", key)
	case nothing:
		f.bad(node, "%s: %s means nothing in YAML; leave the key out, or quote the word: %q", key, node.Value, node.Value)
	case t == reflect.TypeFor[time.Duration]() && strings.HasPrefix(key, "overrides[") && isZero(node.Value):
		f.bad(node, "%s: an override cannot say zero, which means that it says nothing", key)
	default:
		return node.Value
	}
	return nil
}

func isZero(text string) bool {
	d, err := ParseDuration(text)
	return err == nil && d == 0
}

// resolve follows aliases and refuses tags that would change a value's meaning.
func (f *file) resolve(key string, node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.DocumentNode {
		return f.resolve(key, node.Content[0])
	}
	if f.nodes++; f.nodes == maxNodes {
		f.bad(node, "aliases make the file too large")
	}
	tag := node.ShortTag()
	switch {
	case f.nodes >= maxNodes:
		return nil
	case node.Style&yaml.TaggedStyle != 0 && tag != "!!str" && tag != "!!seq" && tag != "!!map":
		f.bad(node, "%s has the tag %s, which is not understood here", at(key), tag)
		return nil
	}
	return node
}

func (f *file) list(key string, node *yaml.Node, elem reflect.Type) any {
	list := []any{}
	for i, child := range node.Content {
		name := fmt.Sprintf("%s[%d]", key, i)
		if v := f.value(name, child, elem); v != nil {
			list = append(list, v)
		} else if child.Kind == yaml.ScalarNode && child.ShortTag() == "!!null" && child.Value == "" {
			f.bad(child, "%s is empty", name)
		}
	}
	return list
}

// group returns the keys of a mapping that t knows, those merged into it (<<)
// included.
func (f *file) group(key string, node *yaml.Node, t reflect.Type) any {
	values := map[string]any{}
	f.merge(values, map[string]bool{}, key, node, t, 0)
	return values
}

// maxMerges is how deep mappings may be merged into each other.
const maxMerges = 16

// merge adds the pairs of a mapping to values, unless they were said already,
// then those of the mappings that it merges.
func (f *file) merge(values map[string]any, said map[string]bool, key string, node *yaml.Node, t reflect.Type, depth int) {
	if depth > maxMerges {
		f.bad(node, "%s merges too many mappings into each other", at(key))
		return
	}
	known := members(t)
	lines, merged := map[string]int{}, []*yaml.Node(nil)
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, v := node.Content[i], node.Content[i+1]
		// viper does not tell capitals apart; neither do we.
		name := strings.ToLower(k.Value)
		full := strings.TrimPrefix(key+"."+k.Value, ".")
		if line, twice := lines[name]; twice {
			f.bad(k, "key %q is already defined at line %d", full, line)
			continue
		}
		lines[name] = k.Line
		if k.ShortTag() == "!!merge" {
			merged = append(merged, v)
			continue
		}
		inner, ok := known[name]
		if !ok || k.Kind != yaml.ScalarNode {
			f.bad(k, "unknown key %q; known here: %s", full, strings.Join(sorted(known), ", "))
			continue
		}
		if said[name] {
			continue
		}
		said[name] = true
		if value := f.value(full, v, inner); value != nil {
			values[name] = value
		}
	}
	for _, m := range merged {
		f.mergeAll(values, said, key, m, t, depth)
	}
}

// mergeAll merges one mapping, or each of a list, the first of which wins.
func (f *file) mergeAll(values map[string]any, said map[string]bool, key string, node *yaml.Node, t reflect.Type, depth int) {
	from := f.resolve(key, node)
	if from == nil {
		return
	}
	all := []*yaml.Node{from}
	if from.Kind == yaml.SequenceNode {
		all = from.Content
	}
	for _, m := range all {
		if m = f.resolve(key, m); m == nil {
			continue
		}
		if m.Kind != yaml.MappingNode {
			f.bad(m, "%s: << merges mappings only", at(key))
			continue
		}
		f.merge(values, said, key, m, t, depth+1)
	}
}

func at(key string) string {
	if key == "" {
		return "the file"
	}
	return key
}
