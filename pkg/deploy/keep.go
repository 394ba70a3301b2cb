package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// keyWindow is how many days KMS waits before it deletes a key; what was
// sealed with it is lost then.
const keyWindow = 30

// APIKey reads the stack's API key.
func (d *Deployer) APIKey(ctx context.Context, secret string) (string, error) {
	out, err := d.Keep.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &secret})
	if err != nil {
		return "", doing(err, "reading the API key from secret %s", secret)
	}
	var v struct {
		APIKey string `json:"api_key"`
	}
	if json.Unmarshal([]byte(aws.ToString(out.SecretString)), &v) != nil || v.APIKey == "" {
		return "", errors.New("reading the API key from secret " + secret + `: want {"api_key": "…"}`) // the cause may quote it
	}
	return v.APIKey, nil
}

// DeleteTable deletes a table that a stack left behind. One that is gone
// already is no error.
func (d *Deployer) DeleteTable(ctx context.Context, table string) error {
	_, err := d.Keep.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &table})
	if err != nil && code(err) != "ResourceNotFoundException" {
		return doing(err, "deleting table %s", table)
	}
	d.say("table %s deleted", table)
	return nil
}

// DeleteKey has KMS delete a key that a stack left behind, after the longest
// time for second thoughts. One that waits for that already is no error.
func (d *Deployer) DeleteKey(ctx context.Context, key string) error {
	id := key[strings.LastIndexByte(key, '/')+1:] // it is this account's, in this region
	_, err := d.Keep.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(keyWindow)})
	switch code(err) {
	case "KMSInvalidStateException", "NotFoundException":
		err = nil
	}
	if err != nil {
		return doing(err, "deleting KMS key %s", key)
	}
	d.say("KMS key %s will be deleted in %d days", key, keyWindow)
	return nil
}
