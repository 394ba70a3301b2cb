//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/keyrot/keyrot/pkg/api"
)

// Skew stands before an IAM and STS and makes them those of an AWS whose clock
// is not this machine's: answers and keys are dated by it, and requests that are
// not signed by it are refused, as AWS refuses them. What passes is signed anew
// for the server behind, with the secrets that went by.
type Skew struct {
	Server *httptest.Server
	to     string

	mu      sync.Mutex
	shift   time.Duration
	secrets map[string]string        // by access key id
	made    map[string]time.Duration // the shift when a key was made
	late    int                      // requests that were refused for their date
}

// NewSkew stands before the server at to. The caller closes Server.
func NewSkew(to string, root aws.Credentials) *Skew {
	s := &Skew{to: to, secrets: map[string]string{root.AccessKeyID: root.SecretAccessKey}, made: map[string]time.Duration{}}
	s.Server = httptest.NewServer(s)
	return s
}

// Shift sets how far AWS's clock is ahead of this machine's.
func (s *Skew) Shift(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shift = d
}

// Now is AWS's time.
func (s *Skew) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.shift)
}

const amzDate = "20060102T150405Z"

var (
	signedAs = regexp.MustCompile(`Credential=([A-Z0-9]+)/\d{8}/([a-z0-9-]+)/([a-z0-9]+)/aws4_request`)
	keyPart  = regexp.MustCompile(`(?s)<(member|AccessKey)>.*?</(member|AccessKey)>`)
	namedKey = regexp.MustCompile(`<AccessKeyId>(.*?)</AccessKeyId>`)
	secret   = regexp.MustCompile(`<SecretAccessKey>(.*?)</SecretAccessKey>`)
	dateMade = regexp.MustCompile(`<CreateDate>(.*?)</CreateDate>`)
)

// ServeHTTP implements http.Handler.
func (s *Skew) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := s.Now()
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, s.to+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	out.Header = r.Header.Clone()
	if q := r.URL.Query(); q.Has("X-Amz-Signature") {
		if out, err = s.presignAgain(out, q, now); err != nil {
			w.Header().Set("Content-Type", "text/xml")
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code><Message>%v</Message></Error><RequestId>r</RequestId></ErrorResponse>`, err)
			return
		}
	}
	if m := signedAs.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		at, err := time.Parse(amzDate, r.Header.Get("X-Amz-Date"))
		if err != nil || now.Sub(at).Abs() > 5*time.Minute {
			s.mu.Lock()
			s.late++
			s.mu.Unlock()
			w.Header().Set("Content-Type", "text/xml")
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code>`+
				`<Message>Signature expired: %s is not near %s</Message></Error><RequestId>r</RequestId></ErrorResponse>`,
				r.Header.Get("X-Amz-Date"), now.UTC().Format(amzDate))
			return
		}
		s.resign(out, body, m[1], m[2], m[3])
	}
	res, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	answer = keyPart.ReplaceAllFunc(answer, s.redate)
	for k, v := range res.Header {
		if k != "Date" && k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(answer)
}

// resign signs the request with the secret of the key that it names, at this
// machine's time. The secret of a key that was made elsewhere is not known.
func (s *Skew) resign(r *http.Request, body []byte, id, region, service string) {
	s.mu.Lock()
	c := aws.Credentials{AccessKeyID: id, SecretAccessKey: s.secrets[id]}
	s.mu.Unlock()
	for _, h := range []string{"Authorization", "X-Amz-Date"} {
		r.Header.Del(h)
	}
	for h := range r.Header {
		if strings.HasPrefix(h, "Amz-Sdk-") || h == "Accept-Encoding" {
			r.Header.Del(h)
		}
	}
	sum := sha256.Sum256(body)
	_ = v4.NewSigner().SignHTTP(r.Context(), c, r, hex.EncodeToString(sum[:]), service, region, time.Now())
}

// Know tells the secret of a key that was made elsewhere.
func (s *Skew) Know(c aws.Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[c.AccessKeyID] = c.SecretAccessKey
}

// presignAgain is resign for a request that was signed in its query.
func (s *Skew) presignAgain(r *http.Request, q url.Values, now time.Time) (*http.Request, error) {
	at, err := time.Parse(amzDate, q.Get("X-Amz-Date"))
	if err != nil || now.Sub(at) > time.Minute || at.Sub(now) > 5*time.Minute {
		return nil, fmt.Errorf("signed at %s, which is not near %s", q.Get("X-Amz-Date"), now.UTC().Format(amzDate))
	}
	scope := strings.Split(q.Get("X-Amz-Credential"), "/")
	s.mu.Lock()
	c := aws.Credentials{AccessKeyID: scope[0], SecretAccessKey: s.secrets[scope[0]]}
	s.mu.Unlock()
	for name := range q {
		if strings.HasPrefix(name, "X-Amz-") && name != "X-Amz-Expires" {
			q.Del(name)
		}
	}
	r.URL.RawQuery = q.Encode()
	sum := sha256.Sum256(nil)
	signed := r.Clone(r.Context())
	for name := range signed.Header {
		if name != api.HeaderServerID {
			signed.Header.Del(name)
		}
	}
	to, _, err := v4.NewSigner().PresignHTTP(r.Context(), c, signed, hex.EncodeToString(sum[:]), "sts", scope[2], time.Now())
	if err != nil {
		return nil, err
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, to, http.NoBody)
	if err != nil {
		return nil, err
	}
	again.Header = r.Header
	return again, nil
}

// redate dates a key in an answer by AWS's clock when it was made, and learns
// its secret.
func (s *Skew) redate(part []byte) []byte {
	id, at := namedKey.FindSubmatch(part), dateMade.FindSubmatch(part)
	if id == nil || at == nil {
		return part
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec := secret.FindSubmatch(part); sec != nil {
		s.secrets[string(id[1])], s.made[string(id[1])] = string(sec[1]), s.shift
	}
	t, err := time.Parse(time.RFC3339, string(at[1]))
	if err != nil {
		return part
	}
	return dateMade.ReplaceAll(part, []byte("<CreateDate>"+t.Add(s.made[string(id[1])]).UTC().Format(time.RFC3339)+"</CreateDate>"))
}
