package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/keyrot/keyrot/pkg/api"
)

//nolint:gochecknoglobals // read once
var description = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(api.OpenAPI())
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

// checkContract holds an answer against the description that the server
// serves. Every answer that the tests of this package record passes here.
func checkContract(t *testing.T, r *http.Request, res *httptest.ResponseRecorder) {
	t.Helper()
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	path, params := r.URL.Path, map[string]string{}
	if user, ok := strings.CutPrefix(path, api.PathContainer); ok && user != "" {
		path, params["user"] = api.PathContainer+"{user}", user
	}
	item := doc.Paths.Value(path)
	if item == nil || res.Code == http.StatusInternalServerError {
		return // a route that is not there; a bug of ours
	}
	op := item.GetOperation(r.Method)
	if op == nil { // another method: any operation of the path says what then
		for _, op = range item.Operations() {
			break
		}
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, QueryParams: r.URL.Query(), PathParams: params,
		Route:   &routers.Route{Spec: doc, Path: path, PathItem: item, Method: r.Method, Operation: op},
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil && res.Code == http.StatusOK {
		t.Errorf("%s %s was answered 200, but the description does not allow it: %v", r.Method, r.URL, err)
	}
	out := (&openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: res.Code, Header: res.Header(), Options: in.Options,
	}).SetBodyBytes(bytes.TrimSpace(res.Body.Bytes()))
	if strings.HasPrefix(res.Header().Get("Content-Type"), "application/json") || res.Code == http.StatusNotModified {
		if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
			t.Errorf("%s %s answered what the description does not say: %v", r.Method, r.URL, err)
		}
	} else if op.Responses.Status(res.Code) == nil {
		t.Errorf("%s %s answered %d, which the description does not know", r.Method, r.URL, res.Code)
	}
}

// TestDescriptionHasEveryErrorCode keeps the table of errors and its
// description together.
func TestDescriptionHasEveryErrorCode(t *testing.T) {
	t.Parallel()
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	schema := doc.Components.Schemas["Error"].Value
	for _, e := range []error{
		api.ErrForbidden, api.ErrUnauthorized, api.ErrNotAllowed, api.ErrBadRequest, api.ErrUnknownUser,
		api.ErrNoKeyReady, api.ErrTooMany, api.ErrTooLarge, api.ErrNotFound, api.ErrMethod, api.ErrUnavailable, api.ErrInternal,
	} {
		_, body := api.Answer(e)
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.VisitJSON(v); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if err := schema.VisitJSON(map[string]any{"message": "x", "code": "invented"}); err == nil {
		t.Error("the description allows any code, so the checks above prove nothing")
	}
}

// TestContractNotices proves that checkContract can fail.
func TestContractNotices(t *testing.T) {
	t.Parallel()
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	credential := doc.Components.Schemas["Credential"].Value
	if err := credential.VisitJSON(map[string]any{"AccessKeyId": "A", "SessionToken": "x"}); err == nil {
		t.Error("a credential with fields missing and too many is allowed")
	}
	var first *openapi3.SchemaError
	if err := doc.Components.Schemas["Token"].Value.VisitJSON(map[string]any{"token": "x", "expires_in": 301.0}); !errors.As(err, &first) {
		t.Errorf("expires_in 301 = %v, want a schema error", err)
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	res := w.do(t, "GET", "/openapi.yaml")
	if res.Code != 200 || !bytes.Equal(res.Body.Bytes(), api.OpenAPI()) || res.Header().Get("Content-Type") != "application/yaml" {
		t.Errorf("GET /openapi.yaml = %d %s, %d bytes", res.Code, res.Header(), res.Body.Len())
	}
}
