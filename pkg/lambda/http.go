package lambda

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// gatewayRequest is a request as API Gateway sends it: payload 1.0 of a REST
// API or 2.0 of an HTTP API.
type gatewayRequest struct {
	Headers         map[string]string `json:"headers"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`

	// Payload 1.0.
	HTTPMethod        string              `json:"httpMethod"`
	Path              string              `json:"path"` // without the stage
	MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
	Query             map[string]string   `json:"queryStringParameters"` // decoded
	MultiValueQuery   map[string][]string `json:"multiValueQueryStringParameters"`

	// Payload 2.0.
	RawPath        string   `json:"rawPath"` // with the stage
	RawQueryString string   `json:"rawQueryString"`
	Cookies        []string `json:"cookies"`

	RequestContext struct {
		Stage    string `json:"stage"`
		Identity struct {
			SourceIP string `json:"sourceIp"` // 1.0
		} `json:"identity"`
		HTTP struct {
			Method   string `json:"method"`
			SourceIP string `json:"sourceIp"`
		} `json:"http"` // 2.0
	} `json:"requestContext"`
}

// gatewayResponse is what API Gateway takes as an answer.
type gatewayResponse struct {
	StatusCode        int                 `json:"statusCode"`
	Headers           map[string]string   `json:"headers,omitempty"`
	MultiValueHeaders map[string][]string `json:"multiValueHeaders,omitempty"` // 1.0
	Cookies           []string            `json:"cookies,omitempty"`           // 2.0
	Body              string              `json:"body"`
	IsBase64Encoded   bool                `json:"isBase64Encoded"`
}

// serve answers one HTTP request. What is wrong with a request is the
// handler's to say, except for what makes it no request at all.
func (f *Function) serve(ctx context.Context, payload []byte, v2 bool) (any, error) {
	var g gatewayRequest
	if err := json.Unmarshal(payload, &g); err != nil {
		return nil, fmt.Errorf("%w: an API request of unexpected fields", ErrEvent) // the cause may quote it
	}
	r, err := g.request(ctx, v2)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	w := &recorder{header: http.Header{}}
	f.API.ServeHTTP(w, r)
	return w.response(v2), nil
}

// request makes the request that reached API Gateway. The client's address is
// what API Gateway saw, never what a header claims.
func (g *gatewayRequest) request(ctx context.Context, v2 bool) (*http.Request, error) {
	body := []byte(g.Body)
	if g.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(g.Body); err != nil {
			return nil, fmt.Errorf("the body is not base64")
		}
	}
	method, u, ip := g.HTTPMethod, &url.URL{Path: g.Path, RawQuery: g.query()}, g.RequestContext.Identity.SourceIP
	if v2 {
		path, err := url.PathUnescape(g.RawPath)
		if err != nil {
			return nil, fmt.Errorf("the path is malformed")
		}
		if s := g.RequestContext.Stage; s != "" && s != "$default" {
			path = strings.TrimPrefix(path, "/"+s)
		}
		method, u, ip = g.RequestContext.HTTP.Method, &url.URL{Path: path, RawQuery: g.RawQueryString}, g.RequestContext.HTTP.SourceIP
	}
	if u.Path == "" {
		u.Path = "/"
	}
	r, err := http.NewRequestWithContext(ctx, method, "/", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("the method is malformed")
	}
	r.URL, r.RequestURI, r.RemoteAddr = u, u.RequestURI(), net.JoinHostPort(ip, "0")
	r.Header = g.header()
	r.Host = r.Header.Get("Host")
	return r, nil
}

// query encodes the decoded parameters of payload 1.0 again.
func (g *gatewayRequest) query() string {
	q := url.Values(g.MultiValueQuery)
	if q == nil {
		q = url.Values{}
		for name, v := range g.Query {
			q.Set(name, v)
		}
	}
	return q.Encode()
}

func (g *gatewayRequest) header() http.Header {
	h := http.Header{}
	for name, v := range g.Headers {
		h.Set(name, v)
	}
	for name, vs := range g.MultiValueHeaders {
		h.Del(name)
		for _, v := range vs {
			h.Add(name, v)
		}
	}
	if len(g.Cookies) > 0 {
		h.Set("Cookie", strings.Join(g.Cookies, "; "))
	}
	return h
}

// recorder keeps an answer until it is whole.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

func (w *recorder) response(v2 bool) gatewayResponse {
	w.WriteHeader(http.StatusOK)
	res := gatewayResponse{StatusCode: w.status, Body: w.body.String()}
	if !utf8.Valid(w.body.Bytes()) {
		res.Body, res.IsBase64Encoded = base64.StdEncoding.EncodeToString(w.body.Bytes()), true
	}
	if !v2 {
		res.MultiValueHeaders = w.header
		return res
	}
	res.Cookies = w.header.Values("Set-Cookie")
	res.Headers = map[string]string{}
	for name, vs := range w.header {
		if name != "Set-Cookie" {
			res.Headers[name] = strings.Join(vs, ",")
		}
	}
	return res
}
