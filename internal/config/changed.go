package config

import (
	"reflect"
	"slices"
)

// Changed returns the keys whose value is not the default, in the order of the
// page about the configuration.
func (c Config) Changed(getenv func(string) string) []string {
	d := defaults(stateDir(getenv))
	d.Store.Path = c.Store.Path // what follows from it is no change of its own
	d.fill()
	d.Store.Path = defaults(stateDir(getenv)).Store.Path
	var changed []string
	for _, k := range keysOf(reflect.TypeFor[Config](), "") {
		is, was := k.value(reflect.ValueOf(c)), k.value(reflect.ValueOf(d))
		empty := is.Kind() == reflect.Slice && is.Len() == 0 && was.Len() == 0
		if !empty && !reflect.DeepEqual(is.Interface(), was.Interface()) {
			changed = append(changed, k.name)
		}
	}
	return changed
}

// Keys returns all keys.
func Keys() []string {
	var names []string
	for _, k := range keysOf(reflect.TypeFor[Config](), "") {
		names = append(names, k.name)
	}
	return slices.Clip(names)
}
