package awsiam

import (
	"errors"
	"fmt"

	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// The error codes on which decisions are made. All of them mean that the call
// had no effect. Codes that are not here mean "unknown".
//
// That keyrot's own credentials are refused is ErrDenied: an operator must act
// and nothing was changed. In Verify, refusals mean the key under test.
var codes = map[string]error{
	"LimitExceeded":          rotate.ErrLimit,
	"LimitExceededException": rotate.ErrLimit,

	"Throttling":               rotate.ErrThrottled,
	"ThrottlingException":      rotate.ErrThrottled,
	"ThrottledException":       rotate.ErrThrottled,
	"RequestThrottled":         rotate.ErrThrottled,
	"TooManyRequestsException": rotate.ErrThrottled,
	"RequestLimitExceeded":     rotate.ErrThrottled,
	"SlowDown":                 rotate.ErrThrottled,

	"AccessDenied":          rotate.ErrDenied,
	"AccessDeniedException": rotate.ErrDenied,
	"UnauthorizedOperation": rotate.ErrDenied,
	"ExpiredToken":          rotate.ErrDenied,
	"OptInRequired":         rotate.ErrDenied,

	"InvalidClientTokenId":        rotate.ErrRefused,
	"InvalidAccessKeyId":          rotate.ErrRefused,
	"UnrecognizedClientException": rotate.ErrRefused,
	"SignatureDoesNotMatch":       rotate.ErrRefused,
	"AuthFailure":                 rotate.ErrRefused,
}

// Codes of services that lack an operation.
var missing = map[string]bool{
	"InvalidAction":             true,
	"UnknownOperationException": true,
	"NotImplemented":            true,
	"UnsupportedOperation":      true,
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

func isAbsent(err error) bool {
	c := code(err)
	return c == "NoSuchEntity" || c == "NoSuchEntityException"
}

// translate wraps an error of the SDK. absent is what NoSuchEntity means.
func translate(doing string, err, absent error) error {
	sentinel := codes[code(err)]
	switch {
	case isAbsent(err):
		sentinel = absent
	case errors.Is(sentinel, rotate.ErrRefused):
		sentinel = rotate.ErrDenied
	}
	return wrap(doing, sentinel, err)
}

func wrap(doing string, sentinel, err error) error {
	if sentinel == nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, sentinel, err)
}
