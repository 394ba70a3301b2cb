package deploy

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// The outputs of the template that keyrot reads.
const (
	OutputEndpoint   = "Endpoint"
	OutputTable      = "TableName"
	OutputKey        = "KmsKeyArn"
	OutputSecret     = "ApiSecretArn" // #nosec G101 -- a name
	OutputRotatorURL = "RotatorUrl"
	OutputUsagePlan  = "UsagePlanId"
)

// The logical names of what a stack leaves behind, for stacks that never got
// as far as having outputs.
const (
	logicalTable = "Table"
	logicalKey   = "Key"
)

// Kept is what a stack leaves behind. Empty: nothing, or not known.
type Kept struct {
	Table string `json:"table,omitempty"`
	Key   string `json:"key,omitempty"`
}

// KeptBy says what the stack leaves behind: what it was given by a former
// stack, or made itself. Key is an ARN.
func KeptBy(s Stack, resources []Resource) Kept {
	k := Kept{Table: s.Parameters["ExistingTable"], Key: s.Parameters["ExistingKmsKey"]}
	for _, r := range resources {
		if r.Status == types.ResourceStatusDeleteComplete {
			continue // a stack that was rolled back lists what it has no more
		}
		switch r.Logical {
		case logicalTable:
			k.Table = r.Physical
		case logicalKey:
			k.Key = keyARN(s.ID, r.Physical)
		}
	}
	return k
}

// keyARN makes the ARN of a key out of its id and the stack's ARN.
func keyARN(stack, id string) string {
	parts := strings.SplitN(stack, ":", 6)
	if len(parts) < 6 || id == "" || strings.HasPrefix(id, "arn:") {
		return id
	}
	return strings.Join([]string{"arn", parts[1], "kms", parts[3], parts[4], "key/" + id}, ":")
}

// rotatorResource is the logical name of the rotator's function.
const rotatorResource = "Rotator"

// Complete fills in the outputs that tell where the stack's parts are from its
// resources, if the stack has not got as far as having outputs.
func (s *Stack) Complete(resources []Resource, endpoint string) {
	fill := func(name, value string) {
		if s.Outputs[name] == "" && value != "" {
			s.Outputs[name] = value
		}
	}
	k := KeptBy(*s, resources)
	fill(OutputTable, k.Table)
	fill(OutputKey, k.Key)
	for _, r := range resources {
		if r.Logical == rotatorResource && r.Physical != "" {
			fill(OutputRotatorURL, endpoint+"/2015-03-31/functions/"+r.Physical+"/invocations")
		}
	}
}
