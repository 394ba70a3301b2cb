package publish

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/awscall"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// SSM puts the pair into a SecureString parameter that holds a JSON object.
// A parameter that is not there is made. Parameter Store has no idempotency
// token: the value is read first and written only if it does not hold the
// pair. It keeps the 100 newest versions and drops older ones by itself,
// unless they are labelled.
type SSM struct {
	AWS        aws.Config
	Now        func() time.Time // AWS's time, to sign with; nil: time.Now
	Label      string           // Name; default ssm
	Parameter  string           // name, ${USER} is expanded
	KMSKey     string           // id, ARN or alias; default the account's aws/ssm
	Properties Properties       // of the JSON object
}

// Name implements rotate.Publisher.
func (s *SSM) Name() string { return cmp.Or(s.Label, "ssm") }

// Traits implements rotate.Publisher.
func (s *SSM) Traits() rotate.Traits {
	return rotate.Traits{Compares: true, Expires: s.Properties.Expiration != ""}
}

// Publish implements rotate.Publisher.
func (s *SSM) Publish(ctx context.Context, c rotate.Credential) error {
	name, err := named(s.Parameter, c)
	if err != nil {
		return err
	}
	service := awscall.Service{Config: s.AWS, ID: "SSM", Host: "ssm", Now: s.Now}
	var out struct{ Parameter struct{ Type, Value string } }
	err = service.JSON(ctx, "AmazonSSM.GetParameter", map[string]any{"Name": name, "WithDecryption": true}, &out)
	if err != nil && awscall.Code(err) != "ParameterNotFound" {
		return fmt.Errorf("reading parameter %s: %w", name, err)
	}
	if t := out.Parameter.Type; t != "" && t != "SecureString" {
		return fmt.Errorf("parameter %s is a %s; a secret is written into a SecureString only", name, t)
	}
	text, has, err := s.Properties.merge(out.Parameter.Value, c)
	if err != nil {
		return fmt.Errorf("parameter %s: %w", name, err)
	}
	if has {
		return nil
	}
	in := map[string]any{"Name": name, "Type": "SecureString", "Value": text, "Overwrite": true}
	if s.KMSKey != "" {
		in["KeyId"] = s.KMSKey
	}
	if err := service.JSON(ctx, "AmazonSSM.PutParameter", in, nil); err != nil {
		return fmt.Errorf("writing parameter %s: %w", name, err)
	}
	return nil
}
