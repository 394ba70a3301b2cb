package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/keyrot/keyrot/internal/awsconfig"
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

// defaultProfile returns the settings of the default profile in an AWS config file
// and the sections of the services that it may name, without what gives
// credentials; and the names of what that is. Clients differ in which of [default]
// and [profile default] they use: what either has counts, and the latter is kept.
func defaultProfile(config []byte) (settings, services string, found []string, err error) {
	f, err := awsconfig.Parse(config)
	if err != nil {
		return "", "", nil, err
	}
	var kept *awsconfig.Section
	for _, s := range f.Sections {
		words, err := awsconfig.Words(s.Name) // not all clients mind how it is written
		switch name := strings.Join(words, " "); {
		case err != nil, name != "default" && name != "profile default":
			if err == nil && len(words) == 2 && words[0] == "services" {
				services += "[" + s.Name + "]\n" + written(s.Options)
			}
			continue
		case kept == nil, name == "profile default":
			kept = s
		}
		for _, o := range slices.Concat(s.Options, f.Defaults.Options) {
			if givesCredentials(o) && !slices.Contains(found, o.Name) {
				found = append(found, o.Name)
			}
		}
	}
	if kept != nil {
		settings = written(slices.DeleteFunc(slices.Clone(kept.Options), givesCredentials))
	}
	return settings, services, found, nil
}

// givesCredentials reports whether a setting gives credentials. Every SDK looks at those
// before it asks a container endpoint.
func givesCredentials(o *awsconfig.Option) bool { return slices.Contains(profile.Sources, o.Name) }

// written returns settings as every client reads them.
func written(options []*awsconfig.Option) string {
	var b strings.Builder
	for _, o := range options {
		text := o.Name + " = " + strings.ReplaceAll(o.Value, "\n", "\n  ") + "\n"
		b.WriteString(strings.Replace(text, " = \n", " =\n", 1)) // of a block, or of nothing
	}
	return b.String()
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
	if _, _, found, err := defaultProfile(config); err == nil && len(found) > 0 {
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
	path, config, err := e.userConfig()
	if err != nil {
		return nil, err
	}
	settings, services, _, err := defaultProfile(config)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", path, err), "correct it, or name another file with AWS_CONFIG_FILE")
	}
	text := "[default]\ncredential_process = " + command + "\n" + settings + services
	file, socket := filepath.Join(dir, "config"), filepath.Join(dir, "agent.sock")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
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
