//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/keyrot/keyrot/internal/awscall"
	"github.com/keyrot/keyrot/pkg/publish"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// lossy loses the answer of, or never sends, the next writing request.
type lossy struct{ before, after bool }

func (l *lossy) Do(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.Header.Get("X-Amz-Target"), ".Put") {
		return http.DefaultClient.Do(r)
	}
	before, after := l.before, l.after
	l.before, l.after = false, false
	if before {
		return nil, errors.New("lost on its way")
	}
	res, err := http.DefaultClient.Do(r)
	if err == nil && after {
		_ = res.Body.Close()
		return nil, errors.New("its answer was lost")
	}
	return res, err
}

// checkedMoto makes an administrator and turns the checking of signatures on.
func checkedMoto(t *testing.T, url string) aws.Credentials {
	t.Helper()
	ctx := t.Context()
	c := iam.NewFromConfig(config(url, aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "any"}))
	name := aws.String("admin")
	if _, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: name}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: name, PolicyName: name, PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)}); err != nil {
		t.Fatal(err)
	}
	out, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(url+"/moto-api/reset-auth", "text/plain", strings.NewReader("0"))
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("reset-auth: %v", err)
	}
	_ = res.Body.Close()
	return aws.Credentials{AccessKeyID: *out.AccessKey.AccessKeyId, SecretAccessKey: *out.AccessKey.SecretAccessKey}
}

// Publishers against moto, which checks their signatures: each crashed before
// and after its write leaves one new version with both halves of one pair.
func TestPublishersOnMoto(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m, err := StartMoto(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	admin := checkedMoto(t, m.URL)
	cfg := config(m.URL, admin)
	sm := awscall.Service{Config: cfg, ID: "Secrets Manager", Host: "secretsmanager"}
	ssm := awscall.Service{Config: cfg, ID: "SSM", Host: "ssm"}
	if err := sm.JSON(ctx, "secretsmanager.CreateSecret", map[string]string{
		"Name": "app/ci", "SecretString": `{"host":"db"}`, "ClientRequestToken": publish.ID("other", "first"),
	}, nil); err != nil {
		t.Fatal(err)
	}
	wire := &lossy{}
	cfg.HTTPClient = wire
	targets := []rotate.Publisher{
		&publish.SecretsManager{AWS: cfg, Secrets: []string{"app/${USER}"}},
		&publish.SSM{AWS: cfg, Parameter: "/app/${USER}"},
	}
	for _, c := range []struct {
		key           string
		before, after bool
	}{{"AKIA1", false, false}, {"AKIA2", true, false}, {"AKIA3", false, true}} {
		cred := rotate.Credential{User: "ci", KeyID: c.key, Secret: rotate.NewSecret("s/+" + c.key), Created: time.Now(), Expiration: time.Now().Add(time.Hour)}
		for _, p := range targets {
			wire.before, wire.after = c.before, c.after
			if err := p.Publish(ctx, cred); (err != nil) != (c.before || c.after) {
				t.Fatalf("%s %s: Publish() = %v", p.Name(), c.key, err)
			}
			if err := p.Publish(ctx, cred); err != nil {
				t.Fatalf("%s %s: Publish() again = %v", p.Name(), c.key, err)
			}
		}
		var sec struct{ SecretString, VersionId string }
		if err := sm.JSON(ctx, "secretsmanager.GetSecretValue", map[string]string{"SecretId": "app/ci", "VersionStage": "AWSCURRENT"}, &sec); err != nil {
			t.Fatal(err)
		}
		holds(t, "secret", sec.SecretString, map[string]string{"host": "db", "access_key_id": c.key, "secret_access_key": "s/+" + c.key})
		if want := publish.ID("ci", c.key); sec.VersionId != want {
			t.Errorf("version = %s, want %s", sec.VersionId, want)
		}
	}
	var par struct {
		Parameter struct {
			Type, Value string
			Version     int
		}
	}
	if err := ssm.JSON(ctx, "AmazonSSM.GetParameter", map[string]any{"Name": "/app/ci", "WithDecryption": true}, &par); err != nil {
		t.Fatal(err)
	}
	if par.Parameter.Type != "SecureString" || par.Parameter.Version != 3 {
		t.Errorf("parameter = %s version %d, want SecureString version 3", par.Parameter.Type, par.Parameter.Version)
	}
	holds(t, "parameter", par.Parameter.Value, map[string]string{"access_key_id": "AKIA3", "secret_access_key": "s/+AKIA3"})
	if err := sm.JSON(ctx, "secretsmanager.DeleteSecret", map[string]string{"SecretId": "app/ci"}, nil); err != nil {
		t.Fatal(err)
	}
	gone := rotate.Credential{User: "ci", KeyID: "AKIA4", Secret: rotate.NewSecret("s"), Created: time.Now(), Expiration: time.Now().Add(time.Hour)}
	if err := targets[0].Publish(ctx, gone); err == nil || !strings.Contains(err.Error(), "restore-secret --secret-id app/ci") {
		t.Errorf("Publish() to a secret that waits for its deletion = %v, want what to type", err)
	}
	// The negative control: the signature counts.
	cfg.HTTPClient = nil
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: admin.AccessKeyID, SecretAccessKey: "wrong"}, nil
	})
	err = (&publish.SSM{AWS: cfg, Parameter: "/app/x"}).Publish(ctx, rotate.Credential{User: "ci", KeyID: "AKIA9", Secret: rotate.NewSecret("s")})
	if err == nil {
		t.Error("Publish() with a wrong signature = nil, want a refusal")
	}
}

func holds(t *testing.T, what, text string, want map[string]string) {
	t.Helper()
	var got map[string]string
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%s is no object: %v", what, err)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %s = %q, want %q", what, k, got[k], v)
		}
	}
}
