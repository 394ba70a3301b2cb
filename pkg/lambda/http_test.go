package lambda

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// seen is what the handler got.
type seen struct {
	Method, Path, Query, Body, Addr, Host string
	Key                                   []string
	Cookie                                string
}

func look(r *http.Request) seen {
	b, _ := io.ReadAll(r.Body)
	return seen{r.Method, r.URL.Path, r.URL.Query().Get("username"), string(b), r.RemoteAddr, r.Host, r.Header["X-Api-Key"], r.Header.Get("Cookie")}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		payload string
		want    seen
	}{
		"REST API": {
			`{"resource":"/active-key","path":"/active-key","httpMethod":"GET",
			"headers":{"Host":"h","X-Forwarded-For":"6.6.6.6","x-api-key":"k"},
			"multiValueHeaders":{"Host":["h"],"x-api-key":["k"]},
			"queryStringParameters":{"username":"a b+c&d"},"multiValueQueryStringParameters":{"username":["a b+c&d"]},
			"requestContext":{"stage":"prod","path":"/prod/active-key","identity":{"sourceIp":"192.0.2.7"}},
			"body":null,"isBase64Encoded":false}`,
			seen{"GET", "/active-key", "a b+c&d", "", "192.0.2.7:0", "h", []string{"k"}, ""},
		},
		"REST API, a header twice": {
			`{"path":"/x","httpMethod":"GET","headers":{"X-Api-Key":"b"},"multiValueHeaders":{"x-api-key":["a","b"]},"requestContext":{"identity":{"sourceIp":"192.0.2.7"}}}`,
			seen{"GET", "/x", "", "", "192.0.2.7:0", "", []string{"a", "b"}, ""},
		},
		"REST API, test console": {
			`{"path":"/x","httpMethod":"POST","queryStringParameters":{"username":"ann"},"body":"aGVsbG8=","isBase64Encoded":true,"requestContext":{"identity":{"sourceIp":"2001:db8::1"}}}`,
			seen{"POST", "/x", "ann", "hello", "[2001:db8::1]:0", "", nil, ""},
		},
		"HTTP API with a stage": {
			`{"version":"2.0","routeKey":"ANY /{proxy+}","rawPath":"/prod/active-key","rawQueryString":"username=a%20b",
			"cookies":["a=1","b=2"],"headers":{"host":"h","x-api-key":"k"},
			"requestContext":{"stage":"prod","http":{"method":"GET","path":"/prod/active-key","sourceIp":"192.0.2.7"}},"isBase64Encoded":false}`,
			seen{"GET", "/active-key", "a b", "", "192.0.2.7:0", "h", []string{"k"}, "a=1; b=2"},
		},
		"HTTP API, $default": {
			`{"version":"2.0","rawPath":"/prod/x","body":"hi","headers":{},"requestContext":{"stage":"$default","http":{"method":"POST","sourceIp":"192.0.2.7"}}}`,
			seen{"POST", "/prod/x", "", "hi", "192.0.2.7:0", "", nil, ""},
		},
		"HTTP API, an empty path": {
			`{"version":"2.0","rawPath":"/prod","requestContext":{"stage":"prod","http":{"method":"GET","sourceIp":"192.0.2.7"}}}`,
			seen{"GET", "/", "", "", "192.0.2.7:0", "", nil, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got seen
			f := &Function{API: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = look(r) })}
			if _, err := f.Invoke(t.Context(), json.RawMessage(c.payload)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("the handler saw %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	f := &Function{API: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") })}
	for name, payload := range map[string]string{
		"base64":  `{"httpMethod":"GET","path":"/","body":"!","isBase64Encoded":true}`,
		"path":    `{"rawPath":"/%zz","requestContext":{"http":{"method":"GET"}}}`,
		"method":  `{"httpMethod":"G T","path":"/"}`,
		"headers": `{"httpMethod":"GET","headers":[1]}`,
	} {
		if _, err := f.Invoke(t.Context(), json.RawMessage(payload)); !errors.Is(err, ErrEvent) {
			t.Errorf("a malformed %s: Invoke = %v, want %v", name, err, ErrEvent)
		}
	}
}

func TestResponses(t *testing.T) {
	t.Parallel()
	const v1, v2 = `{"httpMethod":"GET","path":"/"}`, `{"rawPath":"/","requestContext":{"http":{"method":"GET"}}}`
	for name, c := range map[string]struct {
		payload string
		handler http.HandlerFunc
		want    string
	}{
		"text, REST": {v1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(503)
			w.WriteHeader(200)
			_, _ = w.Write([]byte("busy"))
		}, `{"statusCode":503,"multiValueHeaders":{"Retry-After":["5"]},"body":"busy","isBase64Encoded":false}`},
		"cookies and lists, HTTP": {v2, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Vary"] = []string{"A", "B"}
			w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
			_, _ = w.Write([]byte("ok"))
		}, `{"statusCode":200,"headers":{"Vary":"A,B"},"cookies":["a=1","b=2"],"body":"ok","isBase64Encoded":false}`},
		"bytes":   {v2, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0xff}) }, `{"statusCode":200,"body":"/w==","isBase64Encoded":true}`},
		"nothing": {v1, func(http.ResponseWriter, *http.Request) {}, `{"statusCode":200,"body":"","isBase64Encoded":false}`},
	} {
		f := &Function{API: c.handler}
		got, err := f.Invoke(t.Context(), json.RawMessage(c.payload))
		if err != nil {
			t.Fatal(err)
		}
		if raw, _ := json.Marshal(got); string(raw) != c.want {
			t.Errorf("%s: %s, want %s", name, raw, c.want)
		}
	}
	f := &Function{API: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(strings.Repeat("x", 3)) })}
	if _, err := f.Invoke(t.Context(), json.RawMessage(v1)); err == nil {
		t.Error("a panic in the handler is no error")
	}
}
