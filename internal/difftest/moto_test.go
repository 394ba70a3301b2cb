//go:build e2e

package difftest

import (
	"context"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// motoDiffers is what moto 5.2.1 answers otherwise than AWS.
var motoDiffers = map[string]difference{
	"add and look up a user":           {"ok diff/keyrot/ id not AIDA arn true map[keyrot:managed:true]", "user ids are random, without the prefix"},
	"create a key":                     {"ok Active id AKIA secret 40 whole seconds false recent true", "CreateDate has microseconds"},
	"create a second key":              {"ok Active id AKIA secret 40 whole seconds false recent true", "CreateDate has microseconds"},
	"create a key in the free slot":    {"ok Active id AKIA secret 40 whole seconds false recent true", "CreateDate has microseconds"},
	"verify a wrong secret":            {"ok", "signatures are not checked unless reset-auth turned that on"},
	"verify an unknown key":            {"somebody else's", "as above: unknown keys are a default user's"},
	"verify a deleted key":             {"somebody else's", "as above"},
	"verify an inactive key":           {"ok", "the status of keys is ignored, even with checks turned on"},
	"set a status that does not exist": {notAsked, "any status would be stored"},
	"delete a user that has keys":      {notAsked, "it would be deleted"},
}

// TestMotoAnswersLikeTheSimulation needs a moto server at the address in
// KEYROT_MOTO_ENDPOINT; make e2e starts one.
func TestMotoAnswersLikeTheSimulation(t *testing.T) {
	endpoint := os.Getenv("KEYROT_MOTO_ENDPOINT")
	if endpoint == "" {
		t.Fatal("KEYROT_MOTO_ENDPOINT is not set")
	}
	compare(t, sdkTarget(aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: &endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "any"}, nil
		}),
	}, motoDiffers))
}
