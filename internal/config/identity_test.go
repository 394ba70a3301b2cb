package config_test

import (
	"strings"
	"testing"
)

func TestIdentities(t *testing.T) {
	t.Parallel()
	const good = `
server:
  id: keyrot.example
  sts_regions: [eu-west-1, us-gov-west-1]
  identities:
  - {name: app, kind: aws, arns: ["arn:aws:iam::123456789012:role/App-*", "arn:aws-cn:iam::123456789012:user/Team/*"], users: [app]}
  - name: github
    kind: oidc
    issuer: https://token.actions.githubusercontent.com
    audience: keyrot
    subjects: ["repo:Org/app:*"]
    claims: ["ref=refs/heads/main"]
    jwks_url: https://token.actions.githubusercontent.com/.well-known/jwks
    users: ["ci-*"]
  - {name: watch, kind: oidc, issuer: i, audience: a, subjects: [s], jwks_file: /etc/jwks.json, role: viewer}
  - {name: local, kind: oidc, issuer: i, audience: a, subjects: [s], jwks_url: "http://[::1]:80/keys", users: ["*"]}
`
	c, err := load(t, good, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Errorf("Validate() = %v, want nil", err)
	}
	if got := c.Server.Identities[0].ARNs[0]; got != "arn:aws:iam::123456789012:role/App-*" {
		t.Errorf("the ARN is read as %q: its case must stay", got)
	}
}

// TestIdentitiesThatAreRefused names everything at once.
func TestIdentitiesThatAreRefused(t *testing.T) {
	t.Parallel()
	const bad = `
server:
  sts_regions: [evil.example/]
  identities:
  - {name: Über, kind: saml, users: ["["], role: operator}
  - {name: a, kind: aws, users: [x], issuer: i, jwks_file: f}
  - {name: a, kind: aws, arns: ["arn:aws:iam::*:role/app"]}
  - {name: b, kind: aws, users: [x], arns: ["arn:aws:iam::123456789012:role/path/app"]}
  - {name: c, kind: aws, users: [x], arns: ["arn:aws:sts::123456789012:assumed-role/app/*"]}
  - {name: d, kind: aws, users: [x], arns: ["arn:aws:iam::123456789012:root"]}
  - {name: e, kind: aws, users: [x], arns: ["arn:aws:iam::123456789012:user/[^x]pp"]}
  - {name: f, kind: aws, users: [x], arns: ["*"]}
  - {name: g, kind: oidc, users: [x], arns: [x], claims: [x], jwks_url: "http://issuer.example/keys"}
  - {name: h, kind: oidc, users: [x], issuer: i, audience: a, subjects: [""], jwks_url: "https://u:p@h/", jwks_file: f}
`
	c, err := load(t, bad, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Validate()
	if err == nil {
		t.Fatal("Validate() = nil")
	}
	for _, want := range []string{
		"server.sts_regions:", "server.id: is missing", "identities[0].name:", "identities[0].kind:", "identities[0].users:", "identities[0].role:",
		"identities[1].arns: is missing", "identities[1].issuer: is for kind oidc", "identities[1].jwks_file: is for kind oidc",
		`identities[2].name: "a" is taken`, "identities[2].users: is missing", "identities[2].arns:", "identities[3].arns:", "identities[4].arns:",
		"identities[5].arns:", "identities[6].arns:", "identities[7].arns:", "identities[8].arns: is for kind aws", "identities[8].issuer: is missing",
		"identities[8].audience: is missing", "identities[8].subjects: is missing", "identities[8].claims:", "identities[8].jwks_url:",
		"identities[9].subjects:", "identities[9].jwks_url: give it or", "identities[9].jwks_url: holds a user or a password",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() does not mention %q:\n%v", want, err)
		}
	}
	if _, err := load(t, "server: {identities: [{name: a, arn: x}]}\n", nil, nil); err == nil || !strings.Contains(err.Error(), `unknown key "server.identities[0].arn"`) {
		t.Errorf("Load with an unknown key = %v", err)
	}
}
