package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// everyCommand calls f with each command of the tree, the root as well.
func everyCommand(t *testing.T, f func(cmd *cobra.Command)) {
	t.Helper()
	e, _, _ := testEnv(t, nil)
	root, _ := newRoot(e)
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		f(cmd)
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(root)
}

// words are what leads to a command: nothing for the root.
func words(cmd *cobra.Command) []string { return strings.Fields(cmd.CommandPath())[1:] }

// TestUnknownSubCommandsFail: a cron job that runs "keyrot audit verfy" must not
// succeed for ever.
func TestUnknownSubCommandsFail(t *testing.T) {
	t.Parallel()
	run := func(args ...string) (int, string, string) {
		e, out, errs := testEnv(t, nil)
		code := Run(t.Context(), e, args)
		return code, out.String(), errs.String()
	}
	parents := 0
	everyCommand(t, func(cmd *cobra.Command) {
		if !cmd.HasSubCommands() {
			return
		}
		parents++
		for _, args := range [][]string{
			append(words(cmd), "nosuch"), append(words(cmd), "nosuch", "ci"), append(append([]string{"help"}, words(cmd)...), "nosuch"),
		} {
			code, out, errs := run(args...)
			if code != 2 || out != "" || !strings.Contains(errs, `"nosuch"`) || !strings.Contains(errs, cmd.Commands()[0].Name()) {
				t.Errorf("keyrot %s = %d, want 2 and the commands that there are\n%s%s", strings.Join(args, " "), code, out, errs)
			}
		}
		code, _, errs := run(words(cmd)...)
		if want := map[bool]int{true: 2, false: 0}[cmd.HasParent()]; code != want {
			t.Errorf("%s alone = %d, want %d\n%s", cmd.CommandPath(), code, want, errs)
		}
	})
	if parents < 4 {
		t.Errorf("%d commands with sub-commands were tried, want audit, api-key, users and the root at least", parents)
	}
	for line, want := range map[string]string{
		"audit verfy": `did you mean "keyrot audit verify"?`, "users enrol": `did you mean "keyrot users enroll"?`,
		"api-key creat": `did you mean "keyrot api-key create"?`, "stauts": `did you mean "keyrot status"?`, "help stauts": `keyrot status`,
		"stauts --store x": `did you mean "keyrot status"?`, "audit verfy --since 90d": `did you mean "keyrot audit verify"?`,
		"status --since 90d": "unknown flag: --since", "audit --since 90d": "unknown flag: --since",
	} {
		if code, _, errs := run(strings.Fields(line)...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("keyrot %s = %d, want 2 and %s\n%s", line, code, want, errs)
		}
	}
}

// TestNoCommandSwallowsWords: a word that a command does not name in its usage is
// refused, not ignored.
func TestNoCommandSwallowsWords(t *testing.T) {
	t.Parallel()
	everyCommand(t, func(cmd *cobra.Command) {
		if cmd.HasSubCommands() || strings.ContainsAny(cmd.Use, " ") && cmd.Name() != "get-key" && cmd.Name() != "agent" {
			return
		}
		if cmd.Args == nil || cmd.Args(cmd, []string{"nosuch"}) == nil {
			t.Errorf("%s takes a word that its usage does not name", cmd.CommandPath())
		}
	})
}

// needs are words and flags without which a command says that they are missing,
// before it looks for a store.
var needs = map[string]string{
	"whohas": "AKIAIOSFODNN7EXAMPLE", "pause": "ci", "resume": "ci", "rollback": "ci", "burn": "ci", "publish": "ci",
	"api-key create": "--users ci", "api-key rotate": "a2b3c4d5e6f7", "api-key revoke": "a2b3c4d5e6f7",
	"users release": "ci", "users ack": "ci --caller vendor",
	"users import": "ci --key AKIAIOSFODNN7EXAMPLE --secret-file FOLDER/secret",
}

// TestNoCommandMakesAStoreUnasked: who looks in the wrong place is told so, and
// gets no store that no daemon serves.
func TestNoCommandMakesAStoreUnasked(t *testing.T) {
	t.Parallel()
	tried := 0
	everyCommand(t, func(cmd *cobra.Command) {
		if cmd.Flag("store") == nil || cmd.HasSubCommands() {
			return
		}
		s := newShell(t, "settle: 0s\npublish: [{type: file, path: FOLDER/pair}]", "ci")
		dir := filepath.Dir(s.File)
		secret := filepath.Join(dir, "secret")
		if err := os.WriteFile(secret, []byte("a secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "state", "elsewhere.db")
		args := strings.Fields(strings.ReplaceAll(needs[strings.Join(words(cmd), " ")], "FOLDER", dir))
		args = append(append(words(cmd), args...), "--store", file)
		switch name := strings.Join(words(cmd), " "); name {
		case "serve", "rotate-once", "users enroll": // make it
			return
		case "plan", "doctor": // need none
			s.Run(args...)
		case "audit report":
			if code, _, errs := s.Run(args...); code != 2 || !strings.Contains(errs, filepath.Dir(file)) || !strings.Contains(errs, "--audit-log") {
				t.Errorf("keyrot %s = %d, %q, want 2 and where the log was looked for", name, code, errs)
			}
		default:
			tried++
			code, out, errs := s.Run(args...)
			if code != 2 || out != "" || !strings.Contains(errs, "store "+file+" does not exist") || !strings.Contains(errs, "--store") || !strings.Contains(errs, "--config") {
				t.Errorf("keyrot %s = %d, %q, %q, want 2 and which store there is not", name, code, out, errs)
			}
		}
		if _, err := os.Stat(filepath.Dir(file)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s left something where the store should be: %v", cmd.CommandPath(), err)
		}
	})
	if tried < 15 {
		t.Errorf("%d commands were tried, want all that work on a store", tried)
	}
}

// TestWhatCannotStartMakesNoStore: settings of files that are not there are refused
// before a store is made.
func TestWhatCannotStartMakesNoStore(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{
		"server: {tls_cert: /missing/cert.pem, tls_key: /missing/key.pem}",
		"publish: [{type: webhook, url: \"https://vendor.example/\", key_file: /missing/key}]",
	} {
		s := newShell(t, settings, "ci")
		file := filepath.Join(filepath.Dir(s.File), "state", "keyrot.db")
		for _, command := range []string{"serve --listen 127.0.0.1:0", "rotate-once", "users enroll"} {
			code, out, errs := s.Run(append(strings.Fields(command), "--store", file)...)
			if code != 2 || out != "" || !strings.Contains(errs, "/missing/") {
				t.Errorf("%s with %s = %d, %q, %q, want 2 and the missing file", command, settings, code, out, errs)
			}
			if _, err := os.Stat(filepath.Dir(file)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s with %s left something where the store should be: %v", command, settings, err)
			}
		}
	}
}

// TestStoresThatAreMadeAreNamed: --init makes a store, and says where.
func TestStoresThatAreMadeAreNamed(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	file := filepath.Join(filepath.Dir(s.File), "state", "keyrot.db")
	code, out, errs := s.Run("api-key", "create", "--users", "ci", "--store", file, "--init")
	if _, err := os.Stat(file); code != 0 || err != nil || !strings.HasPrefix(out, "krk_") || !strings.Contains(errs, "is in store "+file) {
		t.Errorf("api-key create --init = %d, %q, %q, %v, want a key and the store named", code, out, errs, err)
	}
	other := filepath.Join(filepath.Dir(s.File), "other", "keyrot.db")
	if code, _, errs := s.Run("users", "enroll", "--store", other); code != 0 || !strings.Contains(errs, "made store "+other) {
		t.Errorf("enroll = %d, %q, want the store that it made named", code, errs)
	}
	if code, _, errs := s.Run("users", "enroll", "--store", other); code != 0 || strings.Contains(errs, "made store") {
		t.Errorf("enroll again = %d, %q", code, errs)
	}
	if code, _, errs := s.Run("api-key", "create", "--users", "ci", "--store", file); code != 0 || !strings.Contains(errs, "is in store "+file) {
		t.Errorf("api-key create in a store that is there = %d, %q", code, errs)
	}
}
