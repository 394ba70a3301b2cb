// Package profile writes the credential_process line that makes an SDK ask
// get-key into the AWS configuration file. It reads the file as its readers do,
// leaves every other value in it alone, and writes nothing unless clients will
// really use the line.
package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/getkey"
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
	config, err := ConfigFile(w.Getenv)
	if err != nil {
		return err
	}
	credentials, err := CredentialsFile(w.Getenv)
	if err != nil {
		return err
	}
	if err := into(config, credentials, wanted{o.Profile, o.User, command}); err != nil {
		return err
	}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w.Err, "keyrot: "+format+"\n", args...) }
	say("profile %q in %s now runs\n  %s", o.Profile, config, command)
	if o.APIKeyFile == "" && o.Identity == "" && o.OIDCTokenFile == "" {
		say("programs that use it need KEYROT_API_KEY or the agent; --api-key-file would be part of the line")
	}
	if at := strings.IndexAny(o.Profile, " =,"); at >= 0 {
		say("the AWS CLI and boto3 find this profile; not all SDKs do, because of the %q in its name", o.Profile[at:at+1])
	}
	for _, names := range stronger {
		if w.Getenv(names[0]) != "" {
			say("%s is set here: with it, AWS_PROFILE changes nothing", names[0])
			say("hint: unset %s", strings.Join(names, " "))
		}
	}
	return nil
}

// stronger are variables whose credentials clients prefer to the profile that
// AWS_PROFILE names.
var stronger = [][]string{
	{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"},
	{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"},
}

// ConfigFile returns the AWS configuration file: AWS_CONFIG_FILE or ~/.aws/config.
func ConfigFile(getenv func(string) string) (string, error) {
	return fromHome(getenv("AWS_CONFIG_FILE"), "~/.aws/config")
}

// CredentialsFile returns the AWS credentials file: AWS_SHARED_CREDENTIALS_FILE
// or ~/.aws/credentials.
func CredentialsFile(getenv func(string) string) (string, error) {
	return fromHome(getenv("AWS_SHARED_CREDENTIALS_FILE"), "~/.aws/credentials")
}

func fromHome(path, standard string) (string, error) {
	if path == "" {
		path = standard
	}
	rest, ok := strings.CutPrefix(path, "~/")
	switch {
	case ok:
	case strings.HasPrefix(path, "~"), strings.Contains(path, "$"):
		return "", getkey.Usagef("%q names an AWS configuration file in a way that not all clients expand; write its whole path", path)
	default:
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", getkey.Usagef("finding the AWS configuration file: %w", err)
	}
	return filepath.Join(home, rest), nil
}

// into writes the profile into the configuration file. The file is replaced
// whole, or not at all if somebody else changed it meanwhile; one that has to
// stay the same file, for a mount or another hard link, is written into.
func into(config, credentials string, w wanted) error {
	if !nameable(w.profile) {
		return getkey.Usagef("--write-profile: %q cannot name a profile", w.profile)
	}
	if err := disk.Trusted(config); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the AWS configuration file: %w", err)
	}
	if real, err := filepath.EvalSymlinks(config); err == nil {
		config = real // the link stays a link
	}
	before, err := read(config)
	if err != nil {
		return fmt.Errorf("reading the AWS configuration file: %w", err)
	}
	secrets, err := read(credentials)
	if err != nil {
		return fmt.Errorf("reading the AWS credentials file: %w", err)
	}
	if same(config, credentials) {
		secrets.text = nil // one file for both: it is judged as the configuration
	}
	after, err := edit(before, secrets, w)
	if err != nil {
		return err
	}
	if bytes.Equal(before.text, after) {
		return nil
	}
	if err := replace(config, before.text, after); err != nil {
		return fmt.Errorf("writing the AWS configuration file: %w", err)
	}
	return nil
}

// nameable reports whether all clients that find the profile read its name alike.
func nameable(profile string) bool {
	return profile != "" && strings.TrimSpace(profile) == profile &&
		!strings.ContainsFunc(profile, func(r rune) bool { return !strings.ContainsRune(getkey.WordRunes+"@, ", r) })
}

func read(path string) (file, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return file{path, text}, err
}

func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
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
	if disk.Pinned(dir, name) != "" { // a mount of a container, say, or one name of several
		return disk.Overwrite(dir, name, content)
	}
	return disk.Replace(dir, name, content)
}
