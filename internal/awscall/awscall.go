// Package awscall makes single signed requests to AWS services of which keyrot
// needs one or two operations. Their SDK packages would be paid for by every
// start of the program (docs/adr/0005-signed-requests.md). It knows how to sign,
// where the endpoint is and what an error is called; not what is asked.
//
// Signing is the SDK's. There are no retries: callers keep their own schedule.
package awscall

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/keyrot/keyrot/internal/awsanswer"
	"github.com/keyrot/keyrot/internal/bound"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// Service is one AWS service. It is safe for concurrent use.
type Service struct {
	Config aws.Config       // region, credentials, endpoints as the SDK loaded them
	ID     string           // name in AWS_ENDPOINT_URL_…, such as "SSM" or "Secrets Manager"
	Host   string           // first label of its host, such as "ssm"
	Sign   string           // name to sign for; default Host
	Now    func() time.Time // AWS's time, to sign with; nil: time.Now
}

// Error is AWS's refusal. Its text leaves out AWS's message, which may repeat
// parts of the request.
type Error struct {
	Status  int
	Code    string // such as ParameterNotFound; empty if there is none
	Message string // AWS's words; not for requests that hold a secret
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s (HTTP %d)", cmp.Or(e.Code, "no error code"), e.Status)
}

// Code returns the code of the Error in err's chain, or "".
func Code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// JSON calls an operation of a service that speaks AWS JSON 1.1. target is
// such as AmazonSSM.PutParameter. out may be nil.
func (s Service) JSON(ctx context.Context, target string, in, out any) error {
	return s.do(ctx, "/", http.Header{
		"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {target},
	}, in, out)
}

// REST posts JSON to a path of a service that speaks REST-JSON.
func (s Service) REST(ctx context.Context, path string, in, out any) error {
	return s.do(ctx, path, http.Header{"Content-Type": {"application/json"}}, in, out)
}

// Query calls an operation of a service that speaks the query protocol. in
// holds Action and Version.
func (s Service) Query(ctx context.Context, in url.Values) error {
	return s.do(ctx, "/", http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}, in, nil)
}

func (s Service) do(ctx context.Context, path string, h http.Header, in, out any) error {
	var body []byte
	operation := cmp.Or(h.Get("X-Amz-Target"), path)
	if form, ok := in.(url.Values); ok {
		body, operation = []byte(form.Encode()), form.Get("Action")
	} else {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return errors.New("encoding a request") // the error might quote a value
		}
	}
	base, err := s.Endpoint(ctx)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(base, "/")+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("endpoint of %s: %w", s.ID, err)
	}
	req.Header = h
	req.GetBody = nil // the SDK's client follows redirects (307, 308) with a body that it can get again
	if err := s.sign(ctx, req, body); err != nil {
		return err
	}
	var client aws.HTTPClient = plain
	if s.Config.HTTPClient != nil {
		client = s.Config.HTTPClient
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("calling %s: %w", s.ID, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", s.ID, err)
	}
	if res.StatusCode/100 != 2 {
		return refusal(res, raw)
	}
	if err := awsanswer.Check(operation, h, res.Header, raw); err != nil {
		return fmt.Errorf("calling %s: %w", s.ID, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the answer of %s is not what was expected", s.ID) // err might quote it
	}
	return nil
}

// plain never follows a redirect: it would carry a signed request elsewhere.
var plain = &http.Client{
	Timeout: bound.Call, Transport: bound.Transport(),
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (s Service) sign(ctx context.Context, req *http.Request, body []byte) error {
	if s.Config.Credentials == nil {
		return errors.New("no AWS credentials are configured")
	}
	c, err := s.Config.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("getting AWS credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	return v4.NewSigner().SignHTTP(ctx, c, req, hex.EncodeToString(sum[:]), cmp.Or(s.Sign, s.Host), s.Config.Region, now())
}

// Endpoint returns the service's address. It follows the SDK: AWS_ENDPOINT_URL_<SERVICE> and its like in the
// configuration file, AWS_ENDPOINT_URL, the region's own (FIPS if asked for).
func (s Service) Endpoint(ctx context.Context) (string, error) {
	fips := ""
	ignore := false
	for _, src := range s.Config.ConfigSources {
		if p, ok := src.(interface {
			GetIgnoreConfiguredEndpoints(context.Context) (bool, bool, error)
		}); ok {
			if v, found, err := p.GetIgnoreConfiguredEndpoints(ctx); err == nil && found {
				ignore = ignore || v
			}
		}
		if p, ok := src.(interface {
			GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error)
		}); ok {
			if v, found, err := p.GetUseFIPSEndpoint(ctx); err == nil && found && v == aws.FIPSEndpointStateEnabled {
				fips = "-fips"
			}
		}
	}
	for _, src := range s.Config.ConfigSources {
		p, ok := src.(interface {
			GetServiceBaseEndpoint(context.Context, string) (string, bool, error)
		})
		if !ok || ignore {
			continue
		}
		if v, found, err := p.GetServiceBaseEndpoint(ctx, s.ID); err == nil && found {
			return v, nil
		}
	}
	if s.Config.BaseEndpoint != nil {
		return *s.Config.BaseEndpoint, nil
	}
	if s.Config.Region == "" {
		return "", fmt.Errorf("no AWS region is configured for %s", s.ID)
	}
	return "https://" + s.Host + fips + "." + s.Config.Region + "." + suffix(s.Config.Region), nil
}

// suffix is the domain of the region's partition.
func suffix(region string) string {
	for prefix, domain := range map[string]string{
		"cn-": "amazonaws.com.cn", "us-iso-": "c2s.ic.gov", "us-isob-": "sc2s.sgov.gov", "eusc-": "amazonaws.eu",
	} {
		if strings.HasPrefix(region, prefix) {
			return domain
		}
	}
	return "amazonaws.com"
}

// refusal reads the error of any of the protocols.
func refusal(res *http.Response, raw []byte) error {
	e := &Error{Status: res.StatusCode, Code: res.Header.Get("X-Amzn-Errortype")}
	var js struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	var x struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	if json.Unmarshal(raw, &js) == nil { // names match in any case
		e.Code, e.Message = cmp.Or(e.Code, js.Type, js.Code), js.Message
	} else if xml.Unmarshal(raw, &x) == nil {
		e.Code, e.Message = cmp.Or(e.Code, x.Code), x.Message
	}
	// "prefix#Code:http://…" is one of the forms.
	e.Code, _, _ = strings.Cut(e.Code, ":")
	if i := strings.LastIndexByte(e.Code, '#'); i >= 0 {
		e.Code = e.Code[i+1:]
	}
	return e
}
