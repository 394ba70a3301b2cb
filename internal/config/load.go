package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"

	"github.com/keyrot/keyrot/internal/disk"
)

// FileName is the configuration file that is looked for.
const FileName = "keyrot.yaml"

// Source says where to look.
type Source struct {
	// File is the configuration file. Empty: the one that KEYROT_CONFIG names,
	// otherwise keyrot.yaml in $XDG_CONFIG_HOME/keyrot or /etc/keyrot, the
	// first that exists; none is fine. Never the working directory: that may
	// be anybody's. A file that others can change is refused, see package trust.
	File string
	// Getenv reads the environment. Required.
	Getenv func(string) string
	// Environ are the environment's variables, as os.Environ has them, among
	// which misspelt settings are looked for. nil: they are not.
	Environ []string
	// Flags are the values of flags that were given, by key.
	Flags map[string]any
	// Defaults stand in for a key's own default, by key.
	Defaults map[string]any
}

// Load reads the configuration. It reports everything that cannot be
// understood, but judges no value: see [Config.Validate]. If that is unknown
// keys and variables only, it returns the rest beside the error, to be judged
// as well.
func Load(src Source) (Config, error) {
	c := defaults(stateDir(src.Getenv))
	known := keysOf(reflect.TypeFor[Config](), "")
	v := viper.New()
	for _, k := range known {
		v.SetDefault(k.name, k.value(reflect.ValueOf(c)).Interface())
	}
	for name, value := range src.Defaults {
		v.SetDefault(name, value)
	}
	file, unknown := readFile(src)
	if unknown != nil && file == nil {
		return Config{}, unknown
	}
	unknown = errors.Join(unknown, environ(src.Environ, known, src.Getenv))
	if err := v.MergeConfigMap(file); err != nil {
		return Config{}, fmt.Errorf("merging configuration: %w", err)
	}
	for _, k := range known {
		if k.list { // a list of groups has no spelling in one variable
			continue
		}
		if text := src.Getenv(EnvName(k.name)); text != "" {
			v.Set(k.name, text)
		}
	}
	for name, value := range src.Flags {
		v.Set(name, value)
	}
	hook := mapstructure.ComposeDecodeHookFunc(decodeDuration, decodeList, decodeScalar)
	if err := v.UnmarshalExact(&c, viper.DecodeHook(hook)); err != nil {
		return Config{}, errors.Join(unknown, src.Locate(decodeError(err)))
	}
	c.fill()
	return c, unknown
}

// EnvName returns the environment variable of a key.
func EnvName(key string) string {
	return "KEYROT_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// fill sets what depends on other settings.
func (c *Config) fill() {
	dir := filepath.Dir(c.Store.Path)
	if c.Store.KeyFile == "" {
		c.Store.KeyFile = filepath.Join(dir, "keyrot.key")
	}
	if c.Audit.Path == "" {
		c.Audit.Path = filepath.Join(dir, "audit.jsonl")
	}
	if c.Audit.Exports == "" && c.Store.Table == "" {
		c.Audit.Exports = filepath.Dir(c.Audit.Path)
	}
}

// readFile returns the file's content as a tree with the known keys only, and
// an error about the others; without a tree nothing could be read.
func readFile(src Source) (map[string]any, error) {
	name, raw, err := find(src)
	if err != nil || name == "" {
		return nil, err
	}
	return parse(name, raw)
}

func find(src Source) (name string, raw []byte, err error) {
	if name = cmp.Or(src.File, src.Getenv("KEYROT_CONFIG")); name != "" {
		raw, err := disk.ReadTrusted(name)
		if err != nil {
			return "", nil, fmt.Errorf("reading configuration: %w", err)
		}
		return name, raw, nil
	}
	var dirs []string
	if home := xdg(src.Getenv, "XDG_CONFIG_HOME", ".config"); home != "" {
		dirs = append(dirs, filepath.Join(home, "keyrot"))
	}
	for _, dir := range append(dirs, "/etc/keyrot") {
		name := filepath.Join(dir, FileName)
		raw, err := disk.ReadTrusted(name)
		if err == nil {
			return name, raw, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", nil, fmt.Errorf("reading configuration: %w", err)
		}
	}
	return "", nil, nil
}

func stateDir(getenv func(string) string) string {
	if os.Geteuid() == 0 && getenv("XDG_STATE_HOME") == "" {
		return "/var/lib/keyrot"
	}
	if home := xdg(getenv, "XDG_STATE_HOME", filepath.Join(".local", "state")); home != "" {
		return filepath.Join(home, "keyrot")
	}
	return "/var/lib/keyrot"
}

func xdg(getenv func(string) string, variable, underHome string) string {
	if dir := getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, underHome)
	}
	return ""
}

// decodeError rewords mapstructure's report: one problem per error.
func decodeError(err error) error {
	var joined interface{ WrappedErrors() []error }
	var unwrapped interface{ Unwrap() []error }
	var parts []error
	switch {
	case errors.As(err, &joined):
		parts = joined.WrappedErrors()
	case errors.As(err, &unwrapped):
		parts = unwrapped.Unwrap()
	default:
		parts = []error{err}
	}
	var out []error
	for _, p := range parts {
		out = append(out, fmt.Errorf("configuration: %w", p))
	}
	return errors.Join(out...)
}
