// Package cli is keyrot's commands and the composition root (wire.go). It
// decides nothing about keys: it reads settings, joins packages, and shows
// results: data on standard output, talk on standard error.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/harden"
	"github.com/keyrot/keyrot/internal/printable"
	"github.com/keyrot/keyrot/pkg/deploy"
)

// Env is what a command has of the world around it.
type Env struct {
	In       io.Reader // nil: nobody answers
	Out, Err io.Writer
	Getenv   func(string) string
	Environ  []string // what Getenv knows, to look for misspelt settings; nil: they are not looked for
	Now      func() time.Time
	// Connect joins the AWS whose keys are rotated. nil: the one that the SDK's own
	// settings name. Tests of commands join another.
	Connect func(context.Context, config.Config) (cloud, error)
}

// Main runs the command line and returns the exit code.
func Main() int {
	harden.Process()
	ctx, stop := interruptible(context.Background())
	defer stop()
	env := Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Environ: os.Environ(), Now: time.Now}
	if env.Getenv(runtimeVariable) != "" {
		env.Err = printable.Writer{Writer: env.Err}
		err := env.lambdaMain(ctx)
		report(env.Err, err)
		return exitCode(err)
	}
	return Run(ctx, env, os.Args[1:])
}

// Run runs the command that args name and returns its exit code.
func Run(ctx context.Context, env Env, args []string) int {
	env.Err = printable.Writer{Writer: env.Err}
	root, started := newRoot(env)
	root.SetArgs(args)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !*started {
		err = usage(err, "run \""+cmd.CommandPath()+" --help\"")
	}
	err = ended(ctx, err)
	report(env.Err, err)
	return exitCode(err)
}

const rootHelp = `keyrot rotates the access keys of IAM users every few minutes and hands out
the active one. A credential that it hands out works from that moment until
the Expiration it came with.

Settings come from the file that --config or KEYROT_CONFIG names, or else from
keyrot.yaml in $XDG_CONFIG_HOME/keyrot or /etc/keyrot, then KEYROT_* variables,
then flags. AWS is reached with the AWS SDK's own settings.

Exit codes: 0 done, 1 failed, 2 bad input, 3 some users failed, 4 nothing to do,
130 interrupted (Ctrl-C), 143 terminated. "serve" and "agent" end with 0 when they
are told to end.`

// newRoot builds the command tree. started becomes true once a command's own
// work begins: an error before that is about how it was called.
func newRoot(env Env) (root *cobra.Command, started *bool) {
	started = new(bool)
	root = &cobra.Command{
		Use:           "keyrot",
		Short:         "Rotate the access keys of IAM users and hand out the active one",
		Long:          rootHelp,
		Example:       "  keyrot serve --sandbox",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			*started = true
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	f := root.PersistentFlags()
	f.String("config", "", "configuration file (KEYROT_CONFIG)")
	f.StringP("output", "o", "text", "text or json")
	setting(f, "log.level", "log-level", "debug, info, warn or error")
	root.AddCommand(
		newServeCmd(env.serve),
		newRotateOnceCmd(env.rotateOnce),
		newGetKeyCmd(env.getKey),
		newAgentCmd(env.agent),
		newExecCmd(env.exec),
		newPlanCmd(env.plan),
		newStatusCmd(env.status, env.watch),
		newPublishCmd(env.publishUser),
		newAPIKeyCmd(env.apiKeys()),
		newAuditCmd(env.auditing()),
		newWhoHasCmd(env.whoHas),
		newUsersCmd(env.usersCmds()),
		newRecoverCmd(env.recoverUsers),
		newDoctorCmd(env.doctor),
		newDeployCmd(env.deploy),
		newCleanupCmd(env.cleanup),
		newVerifyEmailsCmd(env.verifyEmails),
		newVersionCmd(env),
	)
	root.AddCommand(newOperateCmds(env.operations())...)
	root.SetHelpCommand(helpCmd(root))
	root.InitDefaultHelpCmd()
	root.SetOut(env.Out) // the next line remembers it
	root.InitDefaultCompletionCmd()
	strict(root)
	return root, started
}

// common is what every command is told.
type common struct {
	File     string         // --config
	Output   string         // text or json
	Flags    map[string]any // flags that set configuration keys
	Defaults map[string]any // defaults of configuration keys that are this command's own
	Stack    *deploy.Stack  // --stack; nil: not given
}

// settingKey marks a flag that sets a configuration key.
const settingKey = "keyrot.config"

// setting adds a flag that sets a configuration key. The configuration checks
// its value, so it is text here.
func setting(f *pflag.FlagSet, key, name, help string) {
	f.String(name, "", help)
	mark(f, key, name)
}

func settingList(f *pflag.FlagSet, key, name, help string) {
	f.StringSlice(name, nil, help)
	mark(f, key, name)
}

func settingBool(f *pflag.FlagSet, key, name, help string) {
	f.Bool(name, false, help)
	mark(f, key, name)
}

func mark(f *pflag.FlagSet, key, name string) {
	_ = f.SetAnnotation(name, settingKey, []string{key}) // fails for unknown names only
}

// maxText is how many bytes of words of their own operators may put on record.
const maxText = 500

// commonOf collects what was given to cmd.
func commonOf(cmd *cobra.Command) (common, error) {
	c := common{Flags: map[string]any{}}
	c.File, _ = cmd.Flags().GetString("config")
	c.Output, _ = cmd.Flags().GetString("output")
	if c.Output != "text" && c.Output != "json" {
		return c, usagef("--output: %q is not one of text, json", c.Output)
	}
	for _, name := range []string{"reason", "name", "caller"} { // they stand in each list, line of the log and mail
		if text, _ := cmd.Flags().GetString(name); len(text) > maxText {
			return c, usagef("--%s: is longer than %d bytes", name, maxText)
		}
	}
	for _, other := range []string{"table", stackFlag} {
		if cmd.Flags().Changed("store") && cmd.Flags().Changed(other) {
			return c, usagef("--store, --%s: give one of them", other)
		}
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		keys := f.Annotations[settingKey]
		if len(keys) == 0 {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			c.Flags[keys[0]] = list.GetSlice()
			return
		}
		c.Flags[keys[0]] = f.Value.String()
	})
	if name, _ := cmd.Flags().GetString(stackFlag); name != "" {
		return c.ofStack(cmd.Context(), name)
	}
	return c, nil
}

// load reads the configuration without judging it.
func (e Env) load(c common) (config.Config, error) {
	cfg, err := config.Load(e.source(c))
	return cfg, usage(err, "")
}

func (e Env) source(c common) config.Source {
	return config.Source{File: c.File, Getenv: e.Getenv, Environ: e.Environ, Flags: c.Flags, Defaults: c.Defaults}
}

// loadClient reads the configuration of a command that asks a server: a
// misspelt variable of somebody else must not keep a program from its key.
func (e Env) loadClient(c common) (config.Config, error) {
	e.Environ = nil
	return e.load(c)
}

// loadValid reads the configuration of a command that rotates or serves.
func (e Env) loadValid(c common) (config.Config, error) {
	cfg, err := e.load(c)
	switch {
	case err == nil:
		err = usage(e.source(c).Locate(cfg.Validate()), "")
	case cfg.Store.Path != "": // unknown keys; the others can be judged
		err = usage(errors.Join(err, e.source(c).Locate(cfg.Validate())), "")
	}
	return cfg, err
}

// scheduleFlags adds the flags of a schedule.
func scheduleFlags(f *pflag.FlagSet) {
	setting(f, "schedule", "schedule", "preset: default (10/12/15 minutes) or two-active (10/20/20)")
	setting(f, "rotate_every", "rotate-every", "age at which a key is replaced, such as 10m or 90d")
	setting(f, "deactivate_after", "deactivate-after", "age at which a replaced key is made inactive")
	setting(f, "delete_after", "delete-after", "age at which it is deleted")
	setting(f, "settle", "settle", "how long a new key must have been accepted before it is handed out")
}

// selectionFlags adds the flags that say who is rotated.
func selectionFlags(f *pflag.FlagSet) {
	settingList(f, "users.names", "users", "IAM users to rotate")
	setting(f, "users.path_prefix", "path-prefix", "rotate the users under this IAM path")
	setting(f, "users.tag", "tag", "rotate the users with this tag, KEY=VALUE")
	settingList(f, "users.exclude", "exclude", "never rotate these users (names or patterns)")
	settingBool(f, "users.all", "all-users", "rotate every user of the account")
}

func storeFlags(f *pflag.FlagSet) {
	setting(f, "store.path", "store", "SQLite file")
	setting(f, "store.key_file", "key-file", "file with the key that secrets are sealed with")
	setting(f, "store.table", "table", "DynamoDB table instead of the file")
	setting(f, "store.kms_key", "kms-key", "KMS key that the table's secrets are sealed with")
	f.String(stackFlag, "", "work on the store, users and schedule of this deployed stack")
}
