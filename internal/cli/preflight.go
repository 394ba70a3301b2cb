package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"golang.org/x/sync/errgroup"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/deploy"
	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/seal/kmsseal"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
	"github.com/keyrot/keyrot/templates"
)

// stackTick is how often the deployed rotator looks.
const stackTick = time.Minute

// deployable reads the configuration and refuses what a stack cannot do.
func (e Env) deployable(c common) (config.Config, error) {
	cfg, err := e.loadValid(c)
	if err != nil {
		return cfg, err
	}
	if errs := unstackable(cfg, e.Getenv); len(errs) > 0 {
		return cfg, usage(errors.Join(errs...), "docs/deploy.md lists what a stack can be told")
	}
	switch tag, _, _ := strings.Cut(cfg.Users.Tag, "="); {
	case cfg.Users.Empty():
		return cfg, rotate.ErrNoUsers
	case tag != "" && tag != "keyrot:managed":
		return cfg, usage(fmt.Errorf("users.tag: %q: the roles of a stack can only be bound to the tag keyrot:managed", tag),
			"tag the users keyrot:managed=true")
	}
	if err := cfg.Policy("").Validate(stackTick); err != nil {
		return cfg, usage(fmt.Errorf("schedule, with a look every %s: %w", span(stackTick), err),
			`"keyrot plan" draws the timeline of a schedule`)
	}
	return cfg, nil
}

// candidate is a user that would be managed.
type candidate struct {
	User    rotate.User
	Keys    []plan.Key
	Managed bool // a record in the stack's table
	Foreign []plan.Key
	Refused string // why it would not be managed
}

// preflight looks whether all will go well. It changes nothing.
func (p *deployment) preflight(ctx context.Context) ([]candidate, error) {
	p.permissions(ctx)
	if m, err := p.d.MailAccount(ctx); err != nil {
		p.say("warning: %v", err)
	} else {
		p.say("%s", m)
	}
	known, err := p.records(ctx)
	if err != nil {
		return nil, err
	}
	users, err := p.aws.Select(ctx)
	if err != nil {
		return nil, err
	}
	for _, entry := range p.aws.Matches.unmatched() {
		p.say("warning: %s", entry)
	}
	found, err := p.look(ctx, users, known)
	if err != nil {
		return nil, err
	}
	p.fit(found)
	if err := p.showCandidates(found); err != nil {
		return nil, err
	}
	return found, p.suffices(users, len(known) == 0)
}

// suffices refuses to begin what cannot be kept, by the rates that were learnt
// where they are below iam.rate. A stack that has users already is told: it may be
// what makes it better that is deployed.
func (p *deployment) suffices(users []rotate.User, fresh bool) error {
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = u.Name
	}
	c := capacityFor(p.cfg, names, p.learnt)
	if !fresh || c.Feasible {
		p.warnOf(c)
		return nil
	}
	remedy := c.Remedy()
	if rate, found := p.learnt[rotate.Call(c.Scarce)]; !found || rate >= p.cfg.IAM.Rate { // a higher one would change something
		remedy += "; iam.rate says what you know IAM to allow"
	}
	return usage(errors.New(c.Complaint()), remedy)
}

// fit chooses how the table's load is paid for. One that was taken over stays as
// it is.
func (p *deployment) fit(found []candidate) {
	if p.cfg.Store.Table != "" {
		return
	}
	n := len(slices.DeleteFunc(slices.Clone(found), func(c candidate) bool { return c.Refused != "" }))
	p.capacity = loadOf(p.cfg.Policy(""), n, 1).Capacity()
	p.say("%s", tellCapacity(p.capacity))
}

// deployActions are what a deployer cannot do without.
var deployActions = []string{
	"cloudformation:CreateChangeSet", "cloudformation:DescribeChangeSet", "cloudformation:ExecuteChangeSet",
	"cloudformation:DescribeStacks", "cloudformation:DescribeStackEvents", "s3:CreateBucket", "s3:PutObject",
	"iam:CreateRole", "iam:PutRolePolicy", "iam:PassRole", "lambda:CreateFunction", "dynamodb:CreateTable", "kms:CreateKey",
	"secretsmanager:CreateSecret", "apigateway:POST", "events:PutRule", "logs:CreateLogGroup", "sns:CreateTopic", "sqs:CreateQueue",
	"cloudwatch:PutMetricAlarm",
}

// permissions asks the policy simulator. It may be wrong about permissions
// that are limited to some resources, so that it only warns.
func (p *deployment) permissions(ctx context.Context) {
	lacks, err := p.aws.SDK.Lacks(ctx, p.self, deployActions)
	switch {
	case err != nil:
		p.say("warning: your permissions were not checked: %v", err)
	case len(lacks) > 0:
		p.say("warning: you seem to lack %s; see the deployer's policy in docs/deploy.md", strings.Join(lacks, ", "))
	default:
		p.say("your permissions suffice")
	}
}

// records reads what the stack's table, or the one that is to be taken over,
// knows of users and of IAM's rates. Nothing if there is no table yet.
func (p *deployment) records(ctx context.Context) (map[string]plan.Record, error) {
	store, left, err := p.tables(ctx)
	known := map[string]plan.Record{}
	if err != nil || store.Table == "" {
		return known, err
	}
	table := openTable(p.sdk, config.Config{Store: store})
	entries, err := table.List(ctx)
	if errors.Is(err, dynamodb.ErrNoTable) {
		return known, nil
	}
	if err != nil {
		return known, err
	}
	for _, e := range entries {
		known[e.Record.User] = e.Record
	}
	p.learnt = p.rates(ctx, table)
	if left {
		p.left = true
		p.cfg.Store.Table, p.cfg.Store.KMSKey = store.Table, store.KMSKey
		p.say("table %s and KMS key %s, which a former stack left behind, are taken over", store.Table, store.KMSKey)
	}
	return known, nil
}

// rates returns what the processes on the table have found IAM to allow. If it
// cannot be read, a warning says so, and iam.rate counts.
func (p *deployment) rates(ctx context.Context, table rotate.Settings) map[rotate.Call]float64 {
	ctx, cancel := context.WithTimeout(ctx, recallTime)
	defer cancel()
	found, err := pace.Recall(ctx, table, p.cfg.IAM.Rate, p.aws.Clock.Now())
	if err == nil {
		return found
	}
	p.say("warning: the rates that IAM allows, as the stack has learnt them, cannot be read; iam.rate counts instead: %v", err)
	if errors.Is(err, dynamodb.ErrAccess) || errors.Is(err, kmsseal.ErrDenied) {
		p.say("hint: it takes dynamodb:GetItem on the table and kms:Decrypt on its key: docs/deploy.md")
	}
	return nil
}

// tables says where the users' records are. left: a former stack has left the
// table behind, or will when it is cleared away; without it the new stack
// would not know the keys that the users have.
func (p *deployment) tables(ctx context.Context) (_ config.Store, left bool, err error) {
	if p.cfg.Store.Table != "" {
		return p.cfg.Store, false, nil
	}
	s, err := p.d.Stack(ctx, p.o.Name)
	switch {
	case errors.Is(err, deploy.ErrNoStack) || err == nil && s.Status == types.StackStatusReviewInProgress:
		n, err := p.d.ReadNote(ctx, p.o.Name)
		if errors.Is(err, deploy.ErrNoNote) {
			err = nil
		}
		return config.Store{Table: n.Table, KMSKey: n.Key}, true, err
	case err != nil:
		return config.Store{}, false, err
	case s.Outputs[deploy.OutputTable] != "" && !s.Doomed():
		return config.Store{Table: s.Outputs[deploy.OutputTable], KMSKey: s.Outputs[deploy.OutputKey]}, false, nil
	}
	all, err := p.d.Resources(ctx, s)
	k := deploy.KeptBy(s, all)
	return config.Store{Table: k.Table, KMSKey: k.Key}, s.Doomed(), err
}

// look lists the keys of all users, some side by side.
func (p *deployment) look(ctx context.Context, users []rotate.User, known map[string]plan.Record) ([]candidate, error) {
	found := make([]candidate, len(users))
	byID := make(map[string]plan.Record, len(known)) // a user may have been renamed since
	for _, rec := range known {
		byID[rec.UserID] = rec
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.cfg.Workers)
	for i, u := range users {
		g.Go(func() error {
			keys, err := p.aws.IAM.Keys(ctx, u.Name)
			rec, managed := byID[u.ID]
			if !managed || u.ID == "" {
				rec, managed = known[u.Name]
			}
			found[i] = judge(candidate{User: u, Keys: keys, Managed: managed}, rec, rotate.ExistingKeys(p.cfg.ExistingKeys))
			return err
		})
	}
	return found, g.Wait()
}

// judge says whether the user would be enrolled, as rotate does.
func judge(c candidate, rec plan.Record, existing rotate.ExistingKeys) candidate {
	for _, k := range c.Keys {
		if rec.Key(k.ID) == nil {
			c.Foreign = append(c.Foreign, k)
		}
	}
	switch {
	case c.Managed || len(c.Foreign) == 0:
	case existing != rotate.Retire:
		c.Refused = "keys that keyrot did not create"
	case len(c.Foreign) >= plan.Quota:
		c.Refused = "no free slot for a new key"
	}
	return c
}

func (p *deployment) showCandidates(found []candidate) error {
	rows := [][]string{{"USER", "KEYS NOW", "WILL BE"}}
	refused := 0
	for _, c := range found {
		var keys []string
		for _, k := range c.Keys {
			keys = append(keys, fmt.Sprintf("%s (%s, %s)", rotate.ShortID(k.ID), k.Status, k.Created.Format(time.DateOnly)))
		}
		verdict := "managed"
		switch {
		case c.Refused != "":
			verdict = "REFUSED: " + c.Refused
			refused++
		case c.Managed:
			verdict = "managed, as before"
		case len(c.Foreign) > 0:
			verdict = "managed; the old key is kept until it is idle"
		}
		rows = append(rows, []string{c.User.Name, dash(strings.Join(keys, ", ")), verdict})
	}
	if err := writeTable(p.Err, rows); err != nil {
		return err
	}
	p.say("%d users would be managed", len(found)-refused)
	if refused > 0 {
		return fmt.Errorf("%d of %d selected users: %w", refused, len(found), rotate.ErrForeignKey)
	}
	return nil
}

// rehearse compares what would be deployed with what is. It changes nothing,
// so that CloudFormation is not asked: a change set is a change.
func (p *deployment) rehearse(ctx context.Context, found []candidate) error {
	order, err := p.order(found, "(content of the function)")
	if err != nil {
		return err
	}
	s, err := p.d.Stack(ctx, p.o.Name)
	if err != nil && !errors.Is(err, deploy.ErrNoStack) {
		return err
	}
	if errors.Is(err, deploy.ErrNoStack) {
		s.Status = "not there yet"
	}
	v := deployView{
		Stack: p.o.Name, Status: string(s.Status), Endpoint: s.Outputs[deploy.OutputEndpoint],
		Secret: s.Outputs[deploy.OutputSecret],
	}
	for name, value := range order.Parameters {
		if name != "CodeKey" && s.Parameters[name] != value {
			v.Settings = append(v.Settings, deploy.Setting{Name: name, Old: s.Parameters[name], New: value})
		}
	}
	slices.SortFunc(v.Settings, func(a, b deploy.Setting) int { return strings.Compare(a.Name, b.Name) })
	if s.Status != "not there yet" {
		v.Widenings = widenings(s.Parameters, order.Parameters)
		p.showWidenings(v.Widenings)
	}
	p.say("dry run, nothing was changed; template of %d bytes", len(templates.Keyrot()))
	if p.o.Output == "json" {
		return writeJSON(p.Out, v)
	}
	if _, err := fmt.Fprintf(p.Out, "stack %s: %s\n", v.Stack, v.Status); err != nil {
		return err
	}
	return writeTable(p.Out, settingRows(v.Settings))
}

// mails asks SES to verify the addresses. It does not wait: alarms come from
// SNS, which asks by itself.
func (p *deployment) mails(ctx context.Context) error {
	for _, email := range p.addresses() {
		a, err := p.d.Verify(ctx, email)
		if err != nil {
			return err
		}
		p.say("%s", mailLine(a))
	}
	return nil
}

// clearFirst removes the stack, and has the new one take over what it leaves.
func (p *deployment) clearFirst(ctx context.Context) error {
	kept, err := p.remove(ctx, cleanupOptions{common: p.o.common, Name: p.o.Name, Yes: p.o.Yes, Successor: true})
	if errors.Is(err, deploy.ErrNoStack) {
		return nil
	}
	if err == nil && p.cfg.Store.Table == "" && kept.Table != "" {
		p.left = true
		p.cfg.Store.Table, p.cfg.Store.KMSKey = kept.Table, kept.Key
	}
	return err
}

// deniedARNs are the users that the rotator's role must never act on: a
// pattern may be under any path. IAM's policies know * and ? only.
func deniedARNs(self string, exclude []string) ([]string, error) {
	parts := strings.SplitN(self, ":", 6)
	if len(parts) < 6 {
		return nil, fmt.Errorf("%q is no ARN", self)
	}
	prefix := "arn:" + parts[1] + ":iam::" + parts[4] + ":user/"
	var all []string
	for _, pattern := range exclude {
		if strings.ContainsAny(pattern, `[]\,`) {
			return nil, usagef("users.exclude: %q: the roles of a stack support only * and ?", pattern)
		}
		all = append(all, prefix+pattern, prefix+"*/"+pattern)
	}
	return all, nil
}
