package kmsseal

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/seal"
)

// ErrDenied: the caller may not use the KMS key. Nothing was changed.
var ErrDenied = errors.New("not allowed to use the KMS key")

var codes = map[string]error{
	"InvalidCiphertextException":  seal.ErrWrongKey, // another context, too
	"IncorrectKeyException":       seal.ErrWrongKey,
	"NotFoundException":           seal.ErrKeyMissing,
	"DisabledException":           seal.ErrKeyMissing,
	"KMSInvalidStateException":    seal.ErrKeyMissing, // waits for its deletion
	"AccessDeniedException":       ErrDenied,
	"UnrecognizedClientException": ErrDenied,
	"ExpiredTokenException":       ErrDenied,
}

var advice = map[error]string{
	seal.ErrWrongKey:   "check that this is the KMS key that the store was filled with",
	seal.ErrKeyMissing: "enable the KMS key, or cancel its deletion: without it no stored secret can be opened",
	ErrDenied:          "the role needs kms:GenerateDataKey and kms:Decrypt on the key, for encryption contexts keyrot:*",
}

// explain translates an error of the SDK. What remains of that is text, so
// that no other package takes it for an answer of its own service.
func (s *Sealer) explain(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || codes[e.ErrorCode()] == nil {
		return fmt.Errorf("%s with KMS key %s: %v", doing, s.Key, err) //nolint:errorlint // see above
	}
	sentinel := codes[e.ErrorCode()]
	return hint.Wrap(fmt.Errorf("%s with KMS key %s: %w: %s: %s", doing, s.Key, sentinel, e.ErrorCode(), e.ErrorMessage()), advice[sentinel])
}
