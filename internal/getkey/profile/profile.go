// Package profile writes the credential_process line that makes an SDK ask
// get-key into the AWS config file, and leaves everything else in it alone.
package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/hint"
)

// Write does what --write-profile says.
func Write(w *getkey.World, o *getkey.Options) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the running program: %w", err)
	}
	command, err := Command(self, o)
	if err != nil {
		return err
	}
	path, err := ConfigFile(w.Getenv)
	if err != nil {
		return err
	}
	if err := Into(path, o.Profile, command); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(w.Err, "keyrot: profile %q in %s now runs\n  %s\n", o.Profile, path, command)
	if o.APIKeyFile == "" && o.Identity == "" && o.OIDCTokenFile == "" {
		_, _ = fmt.Fprintln(w.Err, "keyrot: programs that use it need KEYROT_API_KEY or the agent; --api-key-file would be part of the line")
	}
	return nil
}

// ConfigFile returns the AWS config file: AWS_CONFIG_FILE or ~/.aws/config.
func ConfigFile(getenv func(string) string) (string, error) {
	home, err := os.UserHomeDir()
	path := getenv("AWS_CONFIG_FILE")
	if path == "" {
		path = "~/.aws/config"
	}
	rest, ok := strings.CutPrefix(path, "~/")
	switch {
	case !ok:
		return path, nil
	case err != nil:
		return "", getkey.Usagef("finding the AWS config file: %w", err)
	}
	return filepath.Join(home, rest), nil
}

// Into writes the profile with the command into the AWS config file,
// replacing a command that was there. All other bytes stay. The file is
// replaced whole, or not at all if somebody else changed it meanwhile.
func Into(path, profile, command string) error {
	if profile == "" || strings.ContainsFunc(profile, func(r rune) bool { return !strings.ContainsRune(getkey.WordRunes+"@,", r) }) {
		return getkey.Usagef("--write-profile: %q cannot name a profile", profile)
	}
	if err := disk.Trusted(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the AWS config file: %w", err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the link stays a link
	}
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the AWS config file: %w", err)
	}
	after, err := withProfile(before, profile, command)
	if err != nil {
		return err
	}
	if bytes.Equal(before, after) {
		return nil
	}
	if err := replace(path, before, after); err != nil {
		return fmt.Errorf("writing the AWS config file: %w", err)
	}
	return nil
}

// replace puts after into the place of before, durably.
func replace(path string, before, after []byte) error {
	dir, err := disk.OpenDir(filepath.Dir(path), true)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	name := filepath.Base(path)
	content := disk.Content{Text: after, Mode: 0o600, UID: -1, GID: -1}
	if info, err := dir.Stat(name); err == nil {
		content.Mode = info.Mode().Perm()
	}
	content.Unless = func() error {
		now, err := dir.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !bytes.Equal(now, before) {
			return errors.New("another program changed it at the same time")
		}
		return nil
	}
	return disk.Replace(dir, name, content)
}

// otherSources are settings that compete with credential_process in a profile.
var otherSources = []string{
	"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "role_arn", "source_profile", "credential_source",
	"web_identity_token_file", "sso_session", "sso_start_url", "sso_account_id", "login_session",
}

// withProfile returns the content of the config file with the profile in it.
func withProfile(config []byte, profile, command string) ([]byte, error) {
	eol := "\n"
	if bytes.Contains(config, []byte("\r\n")) {
		eol = "\r\n"
	}
	setting := "credential_process = " + command + eol
	header, inside, at := "[profile "+profile+"]", false, -1 // at: where the setting belongs
	if profile == "default" {
		header = "[default]"
	}
	var out bytes.Buffer
	for line := range bytes.Lines(config) {
		text := strings.TrimSpace(string(line))
		if name, ok := sectionName(text); ok {
			inside = name == profile
			out.Write(line)
			if inside && at < 0 {
				if !bytes.HasSuffix(line, []byte("\n")) {
					out.WriteString(eol)
				}
				at = out.Len()
			}
			continue
		}
		// An indented line continues the setting above it.
		name, _, isSetting := strings.Cut(string(line), "=")
		name = strings.ToLower(strings.TrimRight(name, " \t"))
		if inside && isSetting && !strings.HasPrefix(text, "#") && !strings.HasPrefix(text, ";") {
			for _, other := range otherSources {
				if name == other {
					return nil, hint.Wrap(getkey.Usagef("profile %q already has %s", profile, other), "choose another name, or remove that setting")
				}
			}
			if name == "credential_process" {
				continue // replaced
			}
		}
		out.Write(line)
	}
	if at >= 0 {
		head, tail := out.Bytes()[:at], out.Bytes()[at:]
		return bytes.Join([][]byte{head, []byte(setting), tail}, nil), nil
	}
	if n := out.Len(); n > 0 {
		if !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
			out.WriteString(eol)
		}
		out.WriteString(eol)
	}
	out.WriteString(header + eol + setting)
	return out.Bytes(), nil
}

// sectionName returns the profile whose section the line begins. Sections that
// are no profile's have a name that no profile can have.
func sectionName(line string) (name string, ok bool) {
	inner, ok := strings.CutPrefix(line, "[")
	if !ok {
		return "", false
	}
	inner, _, ok = strings.Cut(inner, "]")
	if !ok {
		return "", false
	}
	words := strings.Fields(inner)
	switch {
	case len(words) == 1 && words[0] == "default":
		return "default", true
	case len(words) == 2 && words[0] == "profile":
		return strings.Trim(words[1], `"'`), true
	}
	return "\x00", true
}

// Command returns the credential_process line for the options. It names
// keyrot-get if that is installed beside self, the running program.
func Command(self string, o *getkey.Options) (string, error) {
	if o.Identity == getkey.ByAWS { // AWS_PROFILE names the profile to both, and so the command itself
		return "", hint.Wrap(getkey.Usagef("--write-profile: AWS credentials cannot be proved by a profile that asks for them"),
			`run "keyrot agent --identity aws" instead`)
	}
	args := []string{self}
	thin := filepath.Join(filepath.Dir(self), "keyrot-get")
	if runtime.GOOS == "windows" {
		thin += ".exe"
	}
	if info, err := os.Stat(thin); err == nil && info.Mode().IsRegular() {
		args = []string{thin}
	} else if base := strings.TrimSuffix(filepath.Base(self), ".exe"); base != "keyrot-get" {
		args = append(args, "get-key")
	}
	args = append(args, "--user", o.User, "--format", "credential-process", "--endpoint", o.Endpoint)
	for _, file := range []struct{ flag, path string }{
		{"--api-key-file", o.APIKeyFile},
		{"--oidc-token-file", o.OIDCTokenFile},
		{"--ca-file", o.CAFile},
	} {
		if file.path == "" {
			continue
		}
		full, err := filepath.Abs(file.path) // an SDK starts it anywhere
		if err != nil {
			return "", fmt.Errorf("%s: %w", file.flag, err)
		}
		args = append(args, file.flag, full)
	}
	if o.Identity != "" {
		args = append(args, "--identity", o.Identity)
	}
	if o.AllowPlainHTTP {
		args = append(args, "--allow-plain-http")
	}
	if o.NoCache {
		args = append(args, "--no-cache")
	}
	for i, arg := range args {
		quoted, err := processWord(arg)
		if err != nil {
			return "", err
		}
		args[i] = quoted
	}
	return strings.Join(args, " "), nil
}

// processWord quotes an argument so that a shell (Go, Java, JavaScript), boto's
// own splitter and the readers of config files all see the same.
func processWord(s string) (string, error) {
	safe := getkey.WordRunes + "@,"
	if runtime.GOOS == "windows" {
		safe += `\`
	}
	unsafe := func(allowed string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(allowed, r) })
	}
	switch {
	case s != "" && !unsafe(safe):
		return s, nil
	case s != "" && !unsafe(safe+" ()~&"):
		return `"` + s + `"`, nil
	}
	return "", getkey.Usagef("%q has characters that not all SDKs read alike in credential_process", s)
}
