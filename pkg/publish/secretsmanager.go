package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/awscall"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// SecretsManager puts the pair into a JSON property each of a secret's value.
//
// A secret keeps about 100 versions and removes none that is younger than 24 h
// (AWS Secrets Manager quotas), so one secret can take a new value every
// 14.4 min at most; [SecretsManager.Check] refuses a faster schedule. Two
// secrets are written in turn: the one whose value is older gets the new pair,
// and readers take the one that was written last.
type SecretsManager struct {
	AWS        aws.Config
	Now        func() time.Time // AWS's time, to sign with; nil: time.Now
	Label      string           // Name; default secretsmanager
	Secrets    []string         // names or ARNs, ${USER} is expanded; they must exist
	Properties Properties       // of the JSON object
}

// minInterval is 24 h over 100 versions.
const minInterval = 24 * time.Hour / 100

// maxTokens bounds the versions that are tried for one key: others than the
// first are needed only if somebody else overwrote it in between.
const maxTokens = 4

// Name implements rotate.Publisher.
func (s *SecretsManager) Name() string { return cmp.Or(s.Label, "secretsmanager") }

// Traits implements rotate.Publisher.
func (s *SecretsManager) Traits() rotate.Traits {
	return rotate.Traits{Compares: true, Expires: s.Properties.Expiration != ""}
}

// Check reports whether a rotation every interval is possible.
func (s *SecretsManager) Check(interval time.Duration) error {
	n := len(s.Secrets)
	if n == 0 {
		return errors.New("no secret is named")
	}
	if need := minInterval / time.Duration(n); interval < need {
		more := int((minInterval + interval - 1) / interval)
		return fmt.Errorf("rotating every %s is too fast for %d secret(s), which keep about 100 versions and none is removed within "+
			"24 h: the interval must be at least %s, or name %d secrets to be written in turn", interval, n, need, more)
	}
	return nil
}

type smValue struct {
	SecretString  *string
	SecretBinary  []byte
	VersionStages []string
	CreatedDate   float64 // seconds
}

// Publish implements rotate.Publisher.
func (s *SecretsManager) Publish(ctx context.Context, c rotate.Credential) error {
	type candidate struct {
		name, text string
		at         float64
	}
	var oldest *candidate
	for _, n := range s.Secrets {
		name, err := named(n, c)
		if err != nil {
			return err
		}
		text, at, err := s.read(ctx, name)
		if err != nil {
			return fmt.Errorf("reading secret %s: %w", name, s.explained(name, err))
		}
		text, has, err := s.Properties.merge(text, c)
		if err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
		if has {
			return nil
		}
		if oldest == nil || at < oldest.at {
			oldest = &candidate{name, text, at}
		}
	}
	if oldest == nil {
		return errors.New("no secret is named")
	}
	if err := s.put(ctx, oldest.name, oldest.text, c); err != nil {
		return fmt.Errorf("writing secret %s: %w", oldest.name, s.explained(oldest.name, err))
	}
	return nil
}

// explained adds to AWS's codes what they mean and what to type. The code for
// a secret that waits for its deletion is one for many things, so AWS's words
// decide; they are not repeated.
func (s *SecretsManager) explained(name string, err error) error {
	e, ok := errors.AsType[*awscall.Error](err)
	if !ok {
		return err
	}
	region := ""
	if s.AWS.Region != "" {
		region = " --region " + s.AWS.Region
	}
	waits := strings.Contains(e.Message, "deletion") || strings.Contains(e.Message, "deleted")
	switch {
	case e.Code == "InvalidRequestException" && waits:
		return fmt.Errorf(`it is scheduled for deletion; "aws secretsmanager restore-secret --secret-id %s%s" brings it back: %w`,
			name, region, err)
	case e.Code == "ResourceNotFoundException" && !strings.HasPrefix(name, "arn:"):
		return fmt.Errorf(`there is none; "aws secretsmanager create-secret --name %s%s" makes it: %w`, name, region, err)
	}
	return err
}

func (s *SecretsManager) service() awscall.Service {
	return awscall.Service{Config: s.AWS, ID: "Secrets Manager", Host: "secretsmanager", Now: s.Now}
}

// read returns the current value and when it was written; a secret without a
// value is empty and oldest.
func (s *SecretsManager) read(ctx context.Context, name string) (text string, at float64, err error) {
	var out smValue
	err = s.service().JSON(ctx, "secretsmanager.GetSecretValue",
		map[string]string{"SecretId": name, "VersionStage": "AWSCURRENT"}, &out)
	switch {
	case awscall.Code(err) == "ResourceNotFoundException":
		return "", 0, nil // no value yet; if there is no such secret, the put says so
	case err != nil:
		return "", 0, err
	case out.SecretString == nil && len(out.SecretBinary) > 0:
		return "", 0, errors.New("its value is binary")
	}
	return aws.ToString(out.SecretString), out.CreatedDate, nil
}

// put writes a new current version. Its token is made of user and key, so that
// the same value written again is no new version. If the token is taken by
// another value, or by this one but no longer current, somebody else has
// overwritten it meanwhile; then the next token is used.
func (s *SecretsManager) put(ctx context.Context, name, text string, c rotate.Credential) error {
	var err error
	for n := range maxTokens {
		token := ID(c.User, c.KeyID)
		switch {
		case s.Properties.Expiration != "":
			token = uuid(c.User, c.KeyID, stamp(c.Expiration)+"/"+strconv.Itoa(n)) // the value is another one
		case n > 0:
			token = uuid(c.User, c.KeyID, strconv.Itoa(n))
		}
		var out smValue
		err = s.service().JSON(ctx, "secretsmanager.PutSecretValue", map[string]any{
			"SecretId": name, "ClientRequestToken": token, "SecretString": text, "VersionStages": []string{"AWSCURRENT"},
		}, &out)
		switch {
		case err == nil && slices.Contains(out.VersionStages, "AWSCURRENT"):
			return nil
		case err == nil:
			err = errors.New("the version written is not the current one")
		case awscall.Code(err) != "ResourceExistsException":
			return err
		}
	}
	return err
}
