package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/hint"
)

// strict has every command with sub-commands refuse words that name none of
// them. Cobra prints help and succeeds, and so would a cron job that checks
// nothing.
func strict(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		strict(c)
	}
	if !cmd.HasSubCommands() {
		return
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return nil
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { // that of a sub-command that was misspelt
		if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 {
			return unknownCommand(cmd, words[0])
		}
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.HasParent() {
			return cmd.Help()
		}
		return usage(fmt.Errorf("%s: which of %s?", cmd.CommandPath(), strings.Join(subCommands(cmd), ", ")),
			"run \""+cmd.CommandPath()+" --help\"")
	}
}

// unknownCommand says that word names no sub-command of cmd, and which was meant.
func unknownCommand(cmd *cobra.Command, word string) error {
	err := fmt.Errorf("unknown command %q; %s has %s", word, cmd.CommandPath(), strings.Join(subCommands(cmd), ", "))
	if like := cmd.SuggestionsFor(word); len(like) > 0 {
		return hint.Wrap(err, "did you mean \""+cmd.CommandPath()+" "+like[0]+"\"?")
	}
	return err
}

func subCommands(cmd *cobra.Command) (names []string) {
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	return names
}

// helpCmd is cobra's help command, which fails for what it does not know.
func helpCmd(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]...",
		Short:   "Show the help of a command",
		Example: "  keyrot help users enroll",
		RunE: func(_ *cobra.Command, words []string) error {
			cmd, rest, err := root.Find(words)
			switch {
			case err != nil:
				return usage(err, "")
			case len(rest) > 0 && cmd.HasSubCommands():
				return usage(unknownCommand(cmd, rest[0]), "")
			case len(rest) > 0:
				return usagef("%s has no sub-commands", cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
}
