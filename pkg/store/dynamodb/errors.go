package dynamodb

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// Sentinels for what is wrong with the table. In all these cases nothing was
// written.
var (
	ErrNoTable = errors.New("table does not exist")
	ErrAccess  = errors.New("no access to the table")
	ErrBusy    = errors.New("table is throttled") // after the SDK's own attempts
	ErrGlobal  = errors.New("table is a global table")
)

var codes = map[string]error{
	"ResourceNotFoundException":              ErrNoTable,
	"AccessDeniedException":                  ErrAccess,
	"UnrecognizedClientException":            ErrAccess,
	"ExpiredTokenException":                  ErrAccess,
	"ProvisionedThroughputExceededException": ErrBusy,
	"ThrottlingException":                    ErrBusy,
	"RequestLimitExceeded":                   ErrBusy,
}

var advice = map[error]string{
	ErrNoTable: `check the table's name and region; "keyrot deploy" makes it`,
	ErrAccess: "the role needs GetItem, PutItem, UpdateItem, DeleteItem, Query and DescribeTable on the table, and Query " +
		"on its index",
	ErrBusy: "\"keyrot deploy\" fits a stack's capacity to its users; or switch the table to on-demand, or raise its " +
		"limits",
	ErrGlobal:          "delete its replicas: writes to another region would undo the conditions on which keyrot writes",
	content.ErrCorrupt: "restore the table from its point-in-time backup, then run \"keyrot recover\": docs/restore.md",
	seal.ErrWrongKey:   "check that this is the KMS key the table was filled with",
}

// explain wraps an error in the sentinel that it stands for, with advice. A
// nil err stays nil.
func explain(doing, table string, err error) error {
	if err == nil {
		return nil
	}
	sentinel := codes[code(err)]
	switch {
	case errors.Is(err, ErrGlobal):
		sentinel = ErrGlobal
		err = fmt.Errorf("%s: table %s: %w", doing, table, err)
	case sentinel != nil:
		err = fmt.Errorf("%s: table %s: %w: %w", doing, table, sentinel, err)
	case errors.Is(err, content.ErrCorrupt):
		sentinel = content.ErrCorrupt
		err = fmt.Errorf("%s: %w", doing, err)
	case errors.Is(err, seal.ErrWrongKey):
		sentinel = seal.ErrWrongKey
		err = fmt.Errorf("%s: %w", doing, err)
	default:
		err = fmt.Errorf("%s: %w", doing, err)
	}
	if text := advice[sentinel]; text != "" && hint.Of(err) == "" {
		return hint.Wrap(err, text)
	}
	return err
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

func isCondition(err error) bool {
	_, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
	return ok
}
