//go:build !nosandbox

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"time"
)

// The answers to a token that is none. They are what AWS says.
const (
	badTokenIAM = `<ErrorResponse><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code>` +
		`<Message>The security token included in the request is invalid.</Message></Error><RequestId>sandbox</RequestId></ErrorResponse>`
	badTokenS3 = `<Error><Code>InvalidToken</Code><Message>The provided token is malformed or otherwise invalid.</Message>` +
		`<RequestId>sandbox</RequestId></Error>`
)

// RefuseEmptyToken answers as IAM and STS do, or as S3 does, to a request with
// a session token that is empty, in a header or in the query. versitygw, which
// next leads to, takes it for none.
func RefuseEmptyToken(next http.Handler, s3 bool) http.Handler {
	const name = "X-Amz-Security-Token"
	status, body := http.StatusForbidden, badTokenIAM
	if s3 {
		status, body = http.StatusBadRequest, badTokenS3
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(r.Header.Values(name), "") && !slices.Contains(r.URL.Query()[name], "") {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/xml")
		w.Header().Set("X-Amzn-Requestid", "sandbox")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body)) // the client is gone: nobody to tell
	})
}

// pass leads to the server at to, with what was signed as it is.
func pass(to string) (http.Handler, error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		// See Config.
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host, r.Out.URL.RawQuery = r.In.Host, r.In.URL.RawQuery
		},
	}, nil
}

// front listens before the server at to, and returns its own URL.
func (a *AWS) front(ctx context.Context, to string, s3 bool) (string, error) {
	next, err := pass(to)
	if err != nil {
		return "", err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("opening a port: %w", err)
	}
	s := &http.Server{Handler: RefuseEmptyToken(next, s3), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }() // until Close
	before := a.stop
	a.stop = func() error {
		err := s.Close()
		<-done
		return errors.Join(err, before())
	}
	return "http://" + ln.Addr().String(), nil
}
