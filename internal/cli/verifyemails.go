package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/pkg/deploy"
)

type verifyOptions struct {
	common
	Emails []string
	Wait   bool
	For    time.Duration
}

func newVerifyEmailsCmd(run func(context.Context, verifyOptions) error) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify-emails ADDRESS...",
		Short: "Have SES verify e-mail addresses, and say what SES allows",
		Long: `Have SES ask the owners of e-mail addresses whether mails may be sent from them, in this region.
An address that is known already is left as it is. Also says whether the account is in SES's
sandbox, where mails reach verified addresses only.

Exit code 3 means that some addresses are not verified yet, with --wait.`,
		Example: "  keyrot verify-emails you@example.com --wait",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			o.Emails = args
			return run(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Wait, "wait", false, "wait until the links were followed")
	cmd.Flags().DurationVar(&o.For, "wait-for", 15*time.Minute, "how long to wait")
	return cmd
}

func (e Env) verifyEmails(ctx context.Context, o verifyOptions) error {
	for _, email := range o.Emails {
		if !strings.Contains(email, "@") {
			return usagef("%q is not an e-mail address", email)
		}
	}
	sdk, err := regional(ctx, nil)
	if err == nil {
		err = identified(ctx, sdk)
	}
	if err != nil {
		return err
	}
	d := deploy.New(sdk, "")
	var account *deploy.MailAccount
	if m, err := d.MailAccount(ctx); err != nil {
		e.say("warning: %v", err)
	} else {
		account = &m
		e.say("%s", m)
	}
	all, open := make([]deploy.Address, len(o.Emails)), 0
	for i, email := range o.Emails {
		if all[i], err = d.Verify(ctx, email); err != nil {
			return err
		}
		e.say("%s", mailLine(all[i]))
	}
	for i, a := range all {
		if o.Wait && !a.Verified {
			switch all[i], err = d.Await(ctx, a.Email, o.For); {
			case errors.Is(err, deploy.ErrUnverified):
				e.say("%v", err)
				open++
			case err != nil:
				return cutShort(ctx, err, "%s is not verified yet; run this again to wait for it", a.Email)
			}
		}
	}
	if err := e.showAddresses(o, account, all); err != nil {
		return err
	}
	if open > 0 {
		return &marked{fmt.Errorf("%d of %d addresses are not verified yet", open, len(all)), errSome}
	}
	return nil
}

func (e Env) showAddresses(o verifyOptions, account *deploy.MailAccount, all []deploy.Address) error {
	if o.Output == "json" {
		return writeJSON(e.Out, struct {
			Account   *deploy.MailAccount `json:"account,omitempty"`
			Addresses []deploy.Address    `json:"addresses"`
		}{account, all})
	}
	rows := [][]string{{"ADDRESS", "STATUS"}}
	for _, a := range all {
		rows = append(rows, []string{a.Email, strings.ToLower(a.Status)})
	}
	return writeTable(e.Out, rows)
}

func mailLine(a deploy.Address) string {
	switch {
	case a.Verified:
		return a.Email + " is verified"
	case a.Asked:
		return a.Email + ": SES has sent a link, good for 24 hours; follow it"
	}
	return a.Email + " is not verified yet: follow the link that SES has sent"
}
