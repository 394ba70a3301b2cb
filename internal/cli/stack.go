package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/deploy"
	"github.com/keyrot/keyrot/pkg/lambda"
)

// stackFlag makes a command work on a deployed stack.
const stackFlag = "stack"

// knob is a parameter of the template and the configuration key whose place it
// has in the function.
type knob struct {
	parameter, key string
	value          func(config.Config) string // what deploy gives it
}

var knobs = []knob{
	{"UserNames", "users.names", func(c config.Config) string { return strings.Join(c.Users.Names, ",") }},
	{"UserPath", "users.path_prefix", func(c config.Config) string { return c.Users.PathPrefix }},
	{"UserTag", "users.tag", func(c config.Config) string { return c.Users.Tag }},
	{"AllUsers", "users.all", func(c config.Config) string { return fmt.Sprint(c.Users.All) }},
	{"UserExclude", "users.exclude", func(c config.Config) string { return strings.Join(c.Users.Exclude, ",") }},
	{"ExistingKeys", "existing_keys", func(c config.Config) string { return c.ExistingKeys }},
	{"Schedule", "schedule", func(c config.Config) string { return c.Preset }},
	{"RotateEvery", "rotate_every", func(c config.Config) string { return period(c.RotateEvery) }},
	{"DeactivateAfter", "deactivate_after", func(c config.Config) string { return period(c.DeactivateAfter) }},
	{"DeleteAfter", "delete_after", func(c config.Config) string { return period(c.DeleteAfter) }},
	{"Settle", "settle", func(c config.Config) string { return c.Settle.String() }},
	{"OnInUse", "on_in_use", func(c config.Config) string { return c.OnInUse }},
	{"MaxHold", "max_hold", func(c config.Config) string { return c.MaxHold.String() }},
	{"MailDigest", "notify.digest", func(c config.Config) string { return c.Notify.Digest }},
	{"IamRate", "iam.rate", func(c config.Config) string { return strconv.FormatFloat(c.IAM.Rate, 'f', -1, 64) }},
	{"Workers", "workers", func(c config.Config) string { return strconv.Itoa(c.Workers) }},
}

// period writes a duration as the configuration reads it; "" for the preset's.
func period(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// ofStack has the command work with the store, users and schedule of a
// deployed stack. What is given by flags wins.
func (c common) ofStack(ctx context.Context, name string) (common, error) {
	sdk, err := regional(ctx, nil)
	if err == nil {
		err = identified(ctx, sdk)
	}
	if err != nil {
		return c, err
	}
	d := deploy.New(sdk, "")
	s, err := d.Stack(ctx, name)
	if errors.Is(err, deploy.ErrNoStack) {
		return c, usage(err, "check its name and the region")
	}
	if err != nil {
		return c, err
	}
	if s.Outputs[deploy.OutputTable] == "" { // half made, and working all the same
		all, err := d.Resources(ctx, s)
		if err != nil {
			return c, err
		}
		s.Complete(all, "https://lambda."+sdk.Region+".amazonaws.com")
	}
	if s.Outputs[deploy.OutputTable] == "" {
		return c, usage(fmt.Errorf("stack %s (%s): %w", name, s.Status, deploy.ErrNotOurs), `finish it with "keyrot deploy"`)
	}
	for key, value := range settingsOf(s) {
		if _, given := c.Flags[key]; !given {
			c.Flags[key] = value
		}
	}
	c.Stack = &s
	return c, nil
}

// settingsOf returns the configuration of a deployed stack, by key.
func settingsOf(s deploy.Stack) map[string]any {
	settings := map[string]any{
		"store.table": s.Outputs[deploy.OutputTable], "store.kms_key": s.Outputs[deploy.OutputKey],
	}
	for _, k := range knobs {
		value := s.Parameters[k.parameter]
		settings[k.key] = value
		switch {
		case value == "" && (strings.HasSuffix(k.key, "_every") || strings.HasSuffix(k.key, "_after")):
			settings[k.key] = time.Duration(0) // the preset's
		case value == "" && !strings.HasPrefix(k.key, "users."):
			delete(settings, k.key) // a stack of a former template: the default
		}
	}
	return settings
}

// rotateStack has the deployed rotator make a pass. It, and not this process,
// acts: whoever may invoke it needs no right on users, table or key, and what
// runs is what was deployed.
func (e Env) rotateStack(ctx context.Context, o rotateOptions) error {
	sdk, err := regional(ctx, nil)
	if err != nil {
		return err
	}
	clock, _ := e.clockOf(sdk, config.Config{})
	clock.Settle(ctx)
	if own := e.Getenv("AWS_ENDPOINT_URL_LAMBDA"); own != "" {
		sdk.BaseEndpoint = aws.String(own)
	}
	payload, err := json.Marshal(lambda.Request{
		Action: lambda.ActionRotate, Users: o.Users, Force: o.Force, DryRun: o.DryRun, WaitSeconds: int(o.Wait.Seconds()),
	})
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	body, err := deploy.Invoke(ctx, sdk, o.Stack.Outputs[deploy.OutputRotatorURL], payload, clock.Now())
	if err != nil {
		return cutShort(ctx, err, "the deployed rotator finishes its pass")
	}
	var res lambda.Result
	if err := json.Unmarshal(body, &res); err != nil {
		return fmt.Errorf("reading the rotator's answer: %w", err)
	}
	views, failed := make([]userView, len(res.Users)), 0
	for i, u := range res.Users {
		views[i] = userView{User: u.User, Steps: []stepView{}, Wait: u.Wait, Next: u.Next, Error: u.Error}
		for _, s := range u.Steps {
			views[i].Steps = append(views[i].Steps, stepView(s))
		}
		if u.Error != "" {
			failed++
		}
	}
	if err := e.showViews(clock.Now(), o, views); err != nil {
		return err
	}
	if res.Stopped {
		e.say("the rotator's pass was stopped; its next one resumes (%s)", cmp.Or(res.Why, "its time was up"))
	}
	if failed > 0 {
		return &marked{fmt.Errorf("%d of %d users failed", failed, len(views)), errSome}
	}
	return nil
}
