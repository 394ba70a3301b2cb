package cli

import (
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
