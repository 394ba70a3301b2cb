// Package awsanswer tells the answers of AWS's services from those of whatever
// stands between: a proxy's page, or an empty body, with status 200. A change
// of which the service itself has not said that it was made is unknown, not
// done.
package awsanswer

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/keyrot/keyrot/internal/hint"
)

// ErrForeign: an answer of status 2xx is not the service's own. Whether the
// request reached the service is unknown.
var ErrForeign = errors.New("the answer came from something in front of AWS, not from AWS")

// Require returns the configuration with Check applied to every answer.
func Require(cfg aws.Config) aws.Config {
	cfg = cfg.Copy()
	cfg.APIOptions = append(cfg.APIOptions, func(s *middleware.Stack) error {
		if _, ok := s.Deserialize.Get(requiring); ok {
			return nil // required twice
		}
		// After all others: next to the transport, before the answer is decoded.
		return s.Deserialize.Add(middleware.DeserializeMiddlewareFunc(requiring, handle), middleware.After)
	})
	return cfg
}

const requiring = "KeyrotOwnAnswer"

func handle(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error,
) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	req, sent := in.Request.(*smithyhttp.Request)
	res, got := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !sent || !got || res.StatusCode/100 != 2 {
		return out, metadata, err
	}
	var body []byte
	if hasBody(req.Header) {
		body, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(body))
		if err != nil {
			return out, metadata, fmt.Errorf("reading the answer: %w", err)
		}
	}
	if err := Check(middleware.GetOperationName(ctx), req.Header, res.Header, body); err != nil {
		return middleware.DeserializeOutput{}, metadata, err // nothing else of it may be believed, its date for example
	}
	return out, metadata, nil
}

// Check reports whether an answer of status 2xx is the service's own, to this
// operation: ErrForeign. What to expect follows from the request's headers. In
// AWS's query protocol the answer is XML that names the operation and holds a
// request id; in its JSON protocols a JSON object, with the request id in a
// header; otherwise (S3) the header alone says so.
func Check(operation string, request, answer http.Header, body []byte) error {
	switch {
	case isQuery(request):
		var x struct {
			XMLName xml.Name
			ID      string `xml:"ResponseMetadata>RequestId"`
		}
		if xml.Unmarshal(body, &x) == nil && x.XMLName.Local == operation+"Response" && x.ID != "" {
			return nil
		}
	case requestID(answer) == "":
	case isJSON(request):
		var object map[string]json.RawMessage
		if json.Unmarshal(body, &object) == nil && object != nil {
			return nil
		}
	default:
		return nil
	}
	return hint.Wrap(fmt.Errorf("%w (HTTP 200, %d bytes of %q)", ErrForeign, len(body), answer.Get("Content-Type")),
		"check HTTPS_PROXY, AWS_ENDPOINT_URL and the network's gateways")
}

func hasBody(request http.Header) bool { return isQuery(request) || isJSON(request) }

func isQuery(request http.Header) bool {
	return strings.HasPrefix(request.Get("Content-Type"), "application/x-www-form-urlencoded")
}

func isJSON(request http.Header) bool {
	object := request.Get("X-Amz-Content-Sha256") != "" // of S3, of whatever type
	return request.Get("X-Amz-Target") != "" || strings.HasPrefix(request.Get("Content-Type"), "application/json") && !object
}

func requestID(answer http.Header) string {
	if id := answer.Get("X-Amzn-Requestid"); id != "" {
		return id
	}
	return answer.Get("X-Amz-Request-Id")
}
