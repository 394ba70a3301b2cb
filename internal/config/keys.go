package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
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

func sorted(m map[string]reflect.Type) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
