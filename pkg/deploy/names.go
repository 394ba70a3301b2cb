package deploy

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
type Kept struct{ Table, Key string }

// KeptBy says what the stack leaves behind: what it was given by a former
// stack, or made itself.
func KeptBy(s Stack, resources []Resource) Kept {
	k := Kept{Table: s.Parameters["ExistingTable"], Key: s.Parameters["ExistingKmsKey"]}
	for _, r := range resources {
		switch r.Logical {
		case logicalTable:
			k.Table = r.Physical
		case logicalKey:
			k.Key = r.Physical
		}
	}
	return k
}
