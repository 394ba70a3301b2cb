package profile

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/keyrot/keyrot/internal/awsconfig"
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/hint"
)

// Command returns the credential_process line for the options. It names
// keyrot-get if that is installed beside self, the running program.
func Command(self string, o *getkey.Options) (string, error) {
	if o.Identity == getkey.ByAWS { // AWS_PROFILE names the profile to both, and so the command itself
		return "", hint.Wrap(getkey.Usagef("--write-profile: AWS credentials cannot be proved by a profile that asks for them"),
			`run "keyrot agent --identity aws" instead`)
	}
	if u, err := url.Parse(o.Endpoint); err != nil || u.User != nil {
		return "", hint.Wrap(getkey.Usagef("--write-profile: the endpoint holds a password, or is not a URL"),
			"name the server without a user; the API key belongs into --api-key-file")
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
	args = append(args, "--user", o.User, "--endpoint", o.Endpoint)
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
	// Last, because a line that begins and ends with a quote loses both in Go's SDK.
	args = append(args, "--format", "credential-process")
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

// userOf returns the user whose key a credential_process asks keyrot for; ours
// is false for the command of another program.
func userOf(command string) (user string, ours bool) {
	if runtime.GOOS == "windows" {
		command = strings.ReplaceAll(command, `\`, "/")
	}
	words, err := awsconfig.Words(command)
	if err != nil || len(words) < 2 {
		return "", false
	}
	if base := strings.TrimSuffix(filepath.Base(words[0]), ".exe"); base != "keyrot-get" && words[1] != "get-key" {
		return "", false
	}
	for i, word := range words {
		value, ok := strings.CutPrefix(strings.TrimPrefix(word, "-"), "-user")
		switch {
		case ok && strings.HasPrefix(value, "="):
			user = value[1:]
		case ok && value == "" && i+1 < len(words):
			user = words[i+1]
		}
	}
	return user, user != ""
}
