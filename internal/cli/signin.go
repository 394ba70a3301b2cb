package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/logging"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// noCredentials is why the SDK has no credentials, in one sentence, with what to
// type next. The SDK's own account of it is a chain of all that it tried.
type noCredentials struct {
	error         // the SDK's
	text   string // the sentence
	advice string
	given  bool // what there is must change before keyrot can work
}

func (e *noCredentials) Error() string { return e.text }

// Hint has package hint find the advice.
func (e *noCredentials) Hint() string { return e.advice }

func (e *noCredentials) Unwrap() []error {
	if e.given {
		return []error{rotate.ErrNoIdentity, errUsage, e.error}
	}
	return []error{rotate.ErrNoIdentity, e.error}
}

// signedIn returns sdk whose credentials say in one sentence why there are none.
func signedIn(sdk aws.Config) aws.Config {
	from := sdk.Credentials
	if from == nil {
		return sdk
	}
	sdk.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		c, err := from.Retrieve(ctx) // which caches
		if err != nil && ctx.Err() == nil {
			err = explained(err, cmp.Or(os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE"), "default"))
		}
		return c, err
	})
	return sdk
}

// explained says why there are no credentials for the profile.
func explained(err error, profile string) error {
	option := ""
	if profile != "default" {
		option = " --profile " + profile
	}
	text := err.Error()
	expired := fmt.Sprintf("%v: nobody is signed in with profile %q, or the session has expired", rotate.ErrNoIdentity, profile)
	switch {
	case strings.Contains(text, "no EC2 IMDS role found"): // the last place where the SDK looks
		return &noCredentials{
			err, fmt.Sprintf("%v: there are none in the environment, in profile %q of ~/.aws, or of this machine's role",
				rotate.ErrNoIdentity, profile),
			`run "aws configure sso", "aws login" or "aws configure", or choose a profile with AWS_PROFILE; ` +
				`"aws sts get-caller-identity" shows whether it works`, true,
		}
	case strings.Contains(text, "SSO"):
		return &noCredentials{err, expired, `run "aws sso login` + option + `"`, true}
	case strings.Contains(text, "login session"), strings.Contains(text, "login token"):
		return &noCredentials{err, expired, `run "aws login` + option + `"`, true}
	}
	return &noCredentials{
		err, fmt.Sprintf("%v: %v", rotate.ErrNoIdentity, err), `"aws sts get-caller-identity` + option + `" shows whether it works`, false,
	}
}

// identified fails if there are no credentials: before a command begins, so that
// nothing is left behind.
func identified(ctx context.Context, sdk aws.Config) error {
	if sdk.Credentials == nil {
		return nil
	}
	_, err := sdk.Credentials.Retrieve(ctx)
	return err
}

// sdkLog has what the SDK logs be lines of log. nil drops them.
func sdkLog(log *slog.Logger) logging.Logger {
	if log == nil {
		return logging.Nop{}
	}
	return logging.LoggerFunc(func(kind logging.Classification, format string, v ...any) {
		level := slog.LevelInfo
		switch kind {
		case logging.Warn:
			level = slog.LevelWarn
		case logging.Debug:
			level = slog.LevelDebug
		}
		log.Log(context.Background(), level, "from the AWS SDK", "text", fmt.Sprintf(format, v...))
	})
}
