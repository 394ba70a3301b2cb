package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/local"
	"github.com/keyrot/keyrot/internal/getkey/profile"
	"github.com/keyrot/keyrot/pkg/agent"
)

// The ways in which a child of exec gets its credentials.
const (
	viaContainer = "container"
	viaProcess   = "process"
)

// sources are the settings of a profile that give credentials. Every SDK looks
// at them before it asks a container endpoint.
var sources = []string{
	"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "credential_process", "role_arn", "source_profile",
	"credential_source", "web_identity_token_file", "sso_session", "sso_start_url", "sso_account_id", "sso_role_name", "login_session",
}

// defaultProfile returns the lines of the default profile in an AWS config file
// and those of the services that it may name, without what gives credentials;
// and the names of what that is.
func defaultProfile(config []byte) (kept []byte, found []string) {
	inside, dropping := false, false
	var isDefault bool
	for line := range bytes.Lines(config) {
		text := strings.TrimSpace(string(line))
		if section, ok := strings.CutPrefix(text, "["); ok {
			section, _, _ = strings.Cut(section, "]")
			words := strings.Fields(section)
			isDefault = slices.Equal(words, []string{"default"}) || slices.Equal(words, []string{"profile", "default"})
			inside, dropping = isDefault || len(words) > 1 && words[0] == "services", false
			if isDefault {
				line = []byte("[default]\n")
			}
		} else if isDefault && text != "" && !strings.ContainsAny(text[:1], "#;") && line[0] != ' ' && line[0] != '\t' {
			end := strings.IndexAny(text, "=:")
			name := strings.ToLower(strings.TrimSpace(text[:max(end, 0)]))
			if dropping = slices.Contains(sources, name); dropping && !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
		if inside && !dropping {
			kept = append(kept, line...)
		}
	}
	return kept, found
}

// userConfig reads the AWS config file that a child of exec would read; nil if
// there is none.
func (e Env) userConfig() (path string, config []byte, err error) {
	if path, err = profile.ConfigFile(e.Getenv); err != nil {
		return "", nil, err
	}
	config, err = os.ReadFile(path) // #nosec G304 -- what the user's AWS programs read
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("reading the AWS config file: %w", err)
	}
	return path, config, nil
}

// warnOfProfile says that the child's SDK will not use the user's key.
func (e Env) warnOfProfile(user string) {
	path, config, err := e.userConfig()
	if err != nil {
		return // the child's own trouble
	}
	if _, found := defaultProfile(config); len(found) > 0 {
		_, _ = fmt.Fprintf(e.Err, "keyrot: warning: the default profile in %s has %s, which the command's AWS SDK uses instead of %s's key\n"+
			"  hint: keyrot exec --via process hides it from the command\n", path, strings.Join(found, ", "), user)
	}
}

// processEnv prepares what a child needs that is to run credential_process: in
// dir an AWS config file, and a socket on which a answers, in wg, until ctx ends.
func (e Env) processEnv(ctx context.Context, dir string, o *getkey.Options, a *agent.Agent, wg *sync.WaitGroup) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the running program: %w", err)
	}
	command, err := profile.Command(self, o)
	if err != nil {
		return nil, err
	}
	_, config, err := e.userConfig()
	if err != nil {
		return nil, err
	}
	kept, _ := defaultProfile(config)
	// Sections of one name are one to SDKs, but not to all of them.
	line := []byte("[default]\ncredential_process = " + command + "\n")
	if at := bytes.Index(kept, []byte("[default]\n")); at >= 0 {
		kept = slices.Replace(kept, at, at+len("[default]\n"), line...)
	} else {
		kept = append(line, kept...)
	}
	file, socket := filepath.Join(dir, "config"), filepath.Join(dir, "agent.sock")
	if err := os.WriteFile(file, kept, 0o600); err != nil {
		return nil, fmt.Errorf("writing the command's AWS config file: %w", err)
	}
	ln, err := agent.ListenSocket(ctx, socket)
	if err != nil {
		return nil, err
	}
	wg.Go(func() { _ = local.Serve(ctx, ln, a.Give) })
	return []string{
		"AWS_CONFIG_FILE=" + file,
		"AWS_SDK_LOAD_CONFIG=1", "AWS_CREDENTIAL_PROFILES_FILE=" + file, // what the first versions of SDKs want
		"KEYROT_AGENT_SOCKET=" + socket,
	}, nil
}
