package awscall

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/awsanswer"
	"github.com/keyrot/keyrot/internal/bound"
)

// source is one of the SDK's configuration sources.
type source struct {
	service map[string]string
	ignore  bool
	fips    aws.FIPSEndpointState
}

func (s source) GetServiceBaseEndpoint(_ context.Context, id string) (string, bool, error) {
	v, ok := s.service[id]
	return v, ok, nil
}

func (s source) GetIgnoreConfiguredEndpoints(context.Context) (bool, bool, error) {
	return s.ignore, s.ignore, nil
}

func (s source) GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error) {
	return s.fips, s.fips != 0, nil
}

func TestEndpointIsTheSDKs(t *testing.T) {
	t.Parallel()
	own := []any{source{service: map[string]string{"SSM": "http://own"}}}
	for _, tt := range []struct {
		name, region, base string
		sources            []any
		want               string
	}{
		{"a region", "eu-west-1", "", nil, "https://ssm.eu-west-1.amazonaws.com"},
		{"China", "cn-north-1", "", nil, "https://ssm.cn-north-1.amazonaws.com.cn"},
		{"FIPS", "us-gov-west-1", "", []any{source{fips: aws.FIPSEndpointStateEnabled}}, "https://ssm-fips.us-gov-west-1.amazonaws.com"},
		{"AWS_ENDPOINT_URL", "eu-west-1", "http://all", nil, "http://all"},
		{"AWS_ENDPOINT_URL_SSM", "eu-west-1", "http://all", own, "http://own"},
		{"ignored endpoints", "eu-west-1", "", append([]any{source{ignore: true}}, own...), "https://ssm.eu-west-1.amazonaws.com"},
		{"no region", "", "", nil, ""},
	} {
		cfg := aws.Config{Region: tt.region, ConfigSources: tt.sources}
		if tt.base != "" {
			cfg.BaseEndpoint = &tt.base
		}
		got, err := Service{Config: cfg, ID: "SSM", Host: "ssm"}.Endpoint(t.Context())
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: endpoint() = %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestErrorsOfAllProtocols(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, header, body, want string }{
		{"JSON", "", `{"__type":"com.amazon.coral#ThrottlingException","message":"Rate"}`, "ThrottlingException"},
		{"REST-JSON", "MessageRejected:http://x/", `{"Message":"Email address is not verified"}`, "MessageRejected"},
		{"query", "", `<ErrorResponse><Error><Code>NotFound</Code><Message>Topic does not exist</Message></Error></ErrorResponse>`, "NotFound"},
		{"a proxy's page", "", `<html>bad gateway`, ""},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tt.header != "" {
				w.Header().Set("X-Amzn-Errortype", tt.header)
			}
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(tt.body))
		}))
		s := service(srv.URL)
		err := s.Query(t.Context(), url.Values{"Action": {"Publish"}})
		srv.Close()
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != tt.want || e.Status != http.StatusBadRequest || Code(err) != tt.want {
			t.Errorf("%s: error = %#v, want code %q", tt.name, err, tt.want)
			continue
		}
		if tt.want != "" && (e.Message == "" || strings.Contains(err.Error(), e.Message)) {
			t.Errorf("%s: message = %q, text %q, want it kept but not printed", tt.name, e.Message, err)
		}
	}
}

func TestAnswersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hush")) }))
	defer srv.Close()
	var out struct{}
	if err := service(srv.URL).JSON(t.Context(), "X.Y", struct{}{}, &out); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("JSON() = %v, want an error that does not quote the answer", err)
	}
	if err := service("http://127.0.0.1:1").REST(t.Context(), "/x", struct{}{}, nil); err == nil {
		t.Error("REST() to nobody = nil, want an error")
	}
	s := service(srv.URL)
	s.Config.Credentials = nil
	if err := s.REST(t.Context(), "/x", struct{}{}, nil); err == nil {
		t.Error("REST() without credentials = nil, want an error")
	}
}

// another is an answer of SNS to a call that nobody here makes.
const another = "<SubscribeResponse><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></SubscribeResponse>"

func TestAnswersOfSomebodyElse(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"a page": "<html><body>Please sign in</body></html>", "nothing": "", "JSON": "{}", "another call's answer": another} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		s := service(srv.URL)
		for call, err := range map[string]error{
			"JSON": s.JSON(t.Context(), "AmazonSSM.PutParameter", struct{}{}, nil), "REST": s.REST(t.Context(), "/x", struct{}{}, nil),
			"Query": s.Query(t.Context(), url.Values{"Action": {"Publish"}}),
		} {
			if !errors.Is(err, awsanswer.ErrForeign) {
				t.Errorf("%s, answered with %s = %v, want %v", call, name, err, awsanswer.ErrForeign)
			}
		}
		srv.Close()
	}
}

// A redirect takes a signed request with its secret nowhere, with the client
// that the SDK's settings bring or without one.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]aws.HTTPClient{"no client": nil, "the SDK's client": bound.Client()} {
		for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
			elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Errorf("%s: a %d was followed", name, status)
			}))
			srv := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
			s := service(srv.URL)
			s.Config.HTTPClient = client
			err := s.JSON(t.Context(), "AmazonSSM.PutParameter", struct{}{}, nil)
			if e, ok := errors.AsType[*Error](err); !ok || e.Status != status {
				t.Errorf("%s, redirected by %d: %v, want that as the answer", name, status, err)
			}
			srv.Close()
			elsewhere.Close()
		}
	}
}

func service(endpoint string) Service {
	return Service{ID: "SNS", Host: "sns", Config: aws.Config{
		Region: "eu-west-1", BaseEndpoint: &endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "x"}, nil
		}),
	}}
}
