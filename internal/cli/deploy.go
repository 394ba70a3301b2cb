package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/cost"
	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/deploy"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/templates"
)

const defaultStack = "iam-key-rotation"

type deployOptions struct {
	common
	Name                string // of the stack
	Admin, Sender       string // e-mail addresses
	Cleanup             bool   // remove the stack first
	SkipMail            bool
	DryRun, Yes         bool
	FunctionZip         string
	AllowFrom           []string // CIDR blocks
	APIUsers            []string
	PermissionsBoundary string
	Reserved            int
	LogDays             int
	AcceptWidening      bool
	given               map[string]bool // flags
}

func newDeployCmd(run func(context.Context, deployOptions) error) *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "deploy --admin-email ADDRESS",
		Short: "Install or update the serverless system in AWS",
		Long: `Install or update the serverless system in AWS, as one CloudFormation stack: a rotator that
runs every minute, an API that hands out keys, table, KMS key, API key, roles and alarms.

It first looks whether all will go well and lists exactly which users would be managed; then it
shows the plan and asks. A run that was interrupted, or failed, is healed by running it again; if
nothing is to be changed, that is success.

An existing stack keeps settings that neither flags nor configuration give. What would let more
happen than before (other callers, more users, no permissions boundary) is shown in red and asked
about by itself; --yes does not accept it, --accept-widening does. Settings that a stack cannot
keep, such as windows or publish, are refused.`,
		Example: `  keyrot deploy --admin-email you@example.com --path-prefix /machines/ --dry-run
  keyrot deploy --admin-email you@example.com --users ci,mailer`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			o.given = map[string]bool{}
			cmd.Flags().Visit(func(f *pflag.Flag) { o.given[f.Name] = true })
			return run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Admin, "admin-email", "", "who gets the alarms (required)")
	f.StringVar(&o.Sender, "sender-email", "", "verified to send mails from (default: the admin's address)")
	f.StringVar(&o.Name, "stack-name", defaultStack, "name of the stack")
	f.BoolVar(&o.Cleanup, "cleanup", false, "remove the stack first; table and KMS key are kept and taken over")
	f.BoolVar(&o.SkipMail, "skip-email-verification", false, "do not ask SES to verify the addresses")
	f.BoolVar(&o.DryRun, "dry-run", false, "look at everything, change nothing")
	f.BoolVar(&o.Yes, "yes", false, "do not ask")
	f.BoolVar(&o.AcceptWidening, "accept-widening", false, "do not ask about callers, users and permissions that are added either")
	f.StringVar(&o.FunctionZip, "function-zip", "", "the release's keyrot-lambda zip (default: made from this program, on linux/arm64)")
	f.StringSliceVar(&o.AllowFrom, "allow-from", nil, "CIDR blocks that may call the API (default: all)")
	f.StringSliceVar(&o.APIUsers, "api-users", []string{"*"}, "who the stack's API key may read: names or patterns")
	f.StringVar(&o.PermissionsBoundary, "permissions-boundary", "", "ARN of a policy that bounds the roles")
	f.IntVar(&o.Reserved, "reserved-concurrency", -1, "concurrent executions reserved for the rotator; -1: none")
	f.IntVar(&o.LogDays, "log-retention", 90, "days that logs are kept")
	scheduleFlags(f)
	selectionFlags(f)
	setting(f, "existing_keys", "existing-keys", "keys that were there before: refuse or retire")
	setting(f, "workers", "workers", "keys that are made side by side")
	setting(f, "store.table", "table", "table that a former stack left behind")
	setting(f, "store.kms_key", "kms-key", "ARN of the KMS key that a former stack left behind")
	return cmd
}

// deployment is a deploy command under way.
type deployment struct {
	Env
	o    deployOptions
	cfg  config.Config
	sdk  aws.Config
	aws  cloud
	self string   // ARN of who deploys
	left bool     // the table is one that a former stack has left behind
	sure bool     // it was asked whether to make or repair the stack
	more []string // ways in which the plan lets more happen than before

	learnt   map[rotate.Call]float64 // calls per second that IAM was found to allow
	capacity cost.Capacity           // of the table
	d        *deploy.Deployer
}

func (e Env) deploy(ctx context.Context, o deployOptions) error {
	if !strings.Contains(o.Admin, "@") {
		return usagef("--admin-email: %q is not an e-mail address", o.Admin)
	}
	p, err := e.newDeployment(ctx, o)
	if err != nil {
		return err
	}
	o = p.o
	found, err := p.preflight(ctx)
	if err != nil {
		return err
	}
	if o.DryRun {
		return p.rehearse(ctx, found)
	}
	art, err := artefact(o.FunctionZip)
	if err != nil {
		return err
	}
	order, err := p.order(found, deploy.ArtefactKey(o.Name, art))
	if err != nil {
		return err
	}
	if err := p.consent(ctx, order); err != nil {
		return err
	}
	left := "was not changed"
	if o.Cleanup {
		left = "is not replaced yet"
	}
	return cutShort(ctx, p.carryOut(ctx, found, art), "stack %s %s; what was made for it (bucket %s, a program in it, addresses for SES "+
		"to verify) stays until the next deploy or cleanup", o.Name, left, p.d.Bucket())
}

// carryOut does what the plan says.
func (p *deployment) carryOut(ctx context.Context, found []candidate, art deploy.Artefact) error {
	o := p.o
	if o.Cleanup {
		if err := p.clearFirst(ctx); err != nil {
			return err
		}
	}
	s, fresh, err := p.d.Ready(ctx, o.Name)
	if err != nil {
		return err
	}
	if err := p.d.Upload(ctx, o.Name, art); err != nil {
		return err
	}
	order, err := p.order(found, deploy.ArtefactKey(o.Name, art)) // what was cleared away left a table
	if err != nil {
		return err
	}
	return p.install(ctx, s, fresh, order)
}

// newDeployment reads the settings and finds out who and where we are.
func (e Env) newDeployment(ctx context.Context, o deployOptions) (*deployment, error) {
	cfg, err := e.deployable(o.common)
	if err != nil && !errors.Is(err, rotate.ErrNoUsers) { // the stack may know some
		return nil, err
	}
	sdk, err := regional(ctx, logger(e.Err, cfg.Log))
	if err == nil {
		err = identified(ctx, sdk)
	}
	if err != nil {
		return nil, err
	}
	if o, err = o.over(ctx, deploy.New(sdk, ""), cfg.Changed(e.Getenv)); err != nil {
		return nil, err
	}
	if cfg, err = e.deployable(o.common); err != nil {
		return nil, err
	}
	where := e.cloudOf(sdk, cfg)
	p := &deployment{Env: e, o: o, cfg: cfg, sdk: where.Config, aws: where}
	if p.self, err = p.aws.SDK.Self(ctx); err != nil {
		return nil, hint.Wrap(err, "sign in to AWS: keyrot uses the AWS SDK's own settings (AWS_PROFILE, AWS_REGION …)")
	}
	p.d = deploy.New(p.sdk, accountOf(p.self))
	p.d.Say = e.say
	p.say("account %s, region %s, as %s", p.d.Account, p.d.Region, p.self)
	return p, nil
}

func (e Env) say(format string, args ...any) {
	_, _ = fmt.Fprintf(e.Err, "keyrot: "+format+"\n", args...)
}

// accountOf takes the account out of an ARN.
func accountOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}

// order says what the stack should be.
func (p *deployment) order(found []candidate, codeKey string) (deploy.Order, error) {
	c, o := p.cfg, p.o
	denied, err := deniedARNs(p.self, c.Users.Exclude)
	if err != nil {
		return deploy.Order{}, err
	}
	var named []string
	for _, u := range found {
		if slices.Contains(c.Users.Names, u.User.Name) {
			named = append(named, u.User.ARN)
		}
	}
	allow := strings.Join(o.AllowFrom, ",")
	params := map[string]string{
		"CodeBucket": p.d.Bucket(), "CodeKey": codeKey, "AdminEmail": o.Admin, "SenderEmail": o.Sender,
		"UserArns": strings.Join(named, ","), "DeniedUserArns": strings.Join(denied, ","),
		"AllowedSources": allow, "ApiUsers": strings.Join(o.APIUsers, ","),
		"PermissionsBoundary": o.PermissionsBoundary, "ReservedConcurrency": strconv.Itoa(o.Reserved),
		"LogRetentionDays": strconv.Itoa(o.LogDays), "ExistingTable": c.Store.Table, "ExistingKmsKey": c.Store.KMSKey,
		"ReadCapacity": strconv.Itoa(p.capacity.Read), "WriteCapacity": strconv.Itoa(p.capacity.Write),
	}
	for _, k := range knobs {
		params[k.parameter] = k.value(c)
	}
	return deploy.Order{Name: o.Name, Template: templates.Keyrot(allow), Parameters: params}, nil
}

// install plans, asks, carries out and tells the result.
func (p *deployment) install(ctx context.Context, s deploy.Stack, fresh bool, order deploy.Order) error {
	if !fresh { // what a former stack left is taken over once, not with every run
		for _, name := range []string{"ExistingTable", "ExistingKmsKey"} {
			if order.Parameters[name] == "" {
				order.Parameters[name] = s.Parameters[name]
			}
		}
	}
	plan, err := p.d.Plan(ctx, s, fresh, order)
	if err != nil {
		return err
	}
	if plan.Empty() {
		p.say("stack %s is up to date, nothing was changed", order.Name)
		return p.result(ctx, s, plan)
	}
	if err := p.showPlan(plan); err != nil {
		return err
	}
	if err := p.permitted(ctx, s, fresh, order); err != nil {
		return errors.Join(err, p.d.Discard(context.WithoutCancel(ctx), plan))
	}
	if !p.o.SkipMail {
		if err := p.mails(ctx); err != nil {
			return errors.Join(err, p.d.Discard(context.WithoutCancel(ctx), plan))
		}
	}
	if ctx.Err() != nil { // a request that is not sent changes nothing
		return errors.Join(ctx.Err(), p.d.Discard(context.WithoutCancel(ctx), plan))
	}
	if s, err = p.d.Execute(ctx, plan); err != nil {
		return cutShort(ctx, err, "stack %s goes on changing in AWS; run this again to see how it ends", order.Name)
	}
	if p.left { // it says no more than the stack does now
		if err := p.d.EraseNote(ctx, order.Name); err != nil {
			p.say("warning: %v", err)
		}
	}
	return cutShort(ctx, p.result(ctx, s, plan), "the stack is as planned; run this again to see its endpoint")
}

func (p *deployment) showPlan(plan deploy.Plan) error {
	rows := [][]string{{"ACTION", "RESOURCE", "TYPE", "REPLACEMENT"}}
	for _, c := range plan.Changes {
		rows = append(rows, []string{c.Action, c.Resource, c.Type, dash(c.Replacement)})
	}
	if err := writeTable(p.Err, rows); err != nil {
		return err
	}
	if plan.Create {
		return nil
	}
	return writeTable(p.Err, settingRows(plan.Settings))
}

func settingRows(all []deploy.Setting) [][]string {
	rows := [][]string{{"SETTING", "WAS", "BECOMES"}}
	for _, s := range all {
		rows = append(rows, []string{s.Name, dash(s.Old), dash(s.New)})
	}
	return rows
}

// deployView is what deploy answers.
type deployView struct {
	Stack    string           `json:"stack"`
	Status   string           `json:"status"`
	Changed  bool             `json:"changed"`
	Endpoint string           `json:"endpoint"`
	APIKey   string           `json:"api_key,omitempty"` // #nosec G117 -- shown once, here
	Secret   string           `json:"api_key_secret"`    // where it is
	Changes  []deploy.Change  `json:"changes,omitempty"`
	Settings []deploy.Setting `json:"settings,omitempty"`
	// Widenings are the ways in which more may happen than before.
	Widenings []string `json:"widenings,omitempty"`
}

// result tells how to use the stack. The API key is shown when the stack was
// made, and never again.
func (p *deployment) result(ctx context.Context, s deploy.Stack, plan deploy.Plan) error {
	v := deployView{
		Stack: s.Name, Status: string(s.Status), Changed: !plan.Empty(), Endpoint: s.Outputs[deploy.OutputEndpoint],
		Secret: s.Outputs[deploy.OutputSecret], Changes: plan.Changes, Settings: plan.Settings,
		Widenings: p.more,
	}
	if plan.Create && !plan.Empty() {
		key, err := p.d.APIKey(ctx, v.Secret)
		if err != nil { // the stack is there all the same
			p.say("warning: %v", err)
		}
		v.APIKey = key
	}
	if p.o.Output == "json" {
		return writeJSON(p.Out, v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "stack     %s, %s\nendpoint  %s\n", v.Stack, v.Status, v.Endpoint)
	if v.APIKey != "" {
		fmt.Fprintf(&b, "API key   %s   (shown this once; it is in secret %s)\n", v.APIKey, v.Secret)
	} else {
		fmt.Fprintf(&b, "API key   aws secretsmanager get-secret-value --secret-id %s\n", v.Secret)
	}
	fmt.Fprintf(&b, `
  TOKEN=$(curl -sX POST -H "x-api-key: $KEYROT_API_KEY" %[1]s/generate-token | jq -r .token)
  curl -s -H "x-api-key: $KEYROT_API_KEY" -H "Authorization: Bearer $TOKEN" "%[1]s/active-key?username=USER"
`, v.Endpoint)
	p.say("confirm the alarms' subscription in the mail that AWS has sent to %s", p.o.Admin)
	_, err := fmt.Fprint(p.Out, b.String())
	return err
}

// artefact reads the function's zip, or makes it from this program.
func artefact(file string) (deploy.Artefact, error) {
	const how = `take keyrot-lambda_linux_arm64.zip from the release and give it with --function-zip, or build it: ` +
		`GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build -trimpath -tags lambda.norpc,nosandbox -o bootstrap ./cmd/keyrot ` +
		`&& zip keyrot-lambda.zip bootstrap`
	if file != "" {
		raw, err := disk.ReadTrusted(file)
		if err != nil {
			return deploy.Artefact{}, usage(fmt.Errorf("--function-zip: %w", err), how)
		}
		art, err := deploy.Check(raw)
		if err != nil {
			return art, usage(fmt.Errorf("--function-zip %s: %w", file, err), how)
		}
		return art, nil
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "arm64" {
		return deploy.Artefact{}, usage(fmt.Errorf("this keyrot is for %s/%s, Lambda needs linux/arm64", runtime.GOOS, runtime.GOARCH), how)
	}
	self, err := os.Executable()
	if err != nil {
		return deploy.Artefact{}, usage(fmt.Errorf("finding this program's file: %w", err), how)
	}
	raw, err := os.ReadFile(self)
	if err != nil {
		return deploy.Artefact{}, usage(fmt.Errorf("reading this program: %w", err), how)
	}
	art, err := deploy.Pack(raw)
	return art, usage(err, how)
}
