package callerid_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/auth/callerid"
	"github.com/keyrot/keyrot/pkg/client/awsidentity"
)

const account = "123456789012"

// principal is an access key as STS knows it.
type principal struct {
	secret, token, arn string
	inactive           bool
}

// sts checks signatures as STS does and says whose they are.
type sts struct {
	keys   map[string]principal
	asked  atomic.Int64
	answer func(w http.ResponseWriter) // instead
	url    string
}

func newSTS(t *testing.T) *sts {
	t.Helper()
	s := &sts{keys: map[string]principal{
		"ASIAROLEROLEROLEROLE": {secret: "s1", token: "tok/en+=", arn: "arn:aws:sts::" + account + ":assumed-role/app/i-0123456789"},
		"AKIAUSERUSERUSERUSER": {secret: "s2", arn: "arn:aws:iam::" + account + ":user/team/ci"},
		"AKIAINACTIVEINACTIVE": {secret: "s3", arn: "arn:aws:iam::" + account + ":user/team/ci", inactive: true},
	}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *sts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	if s.answer != nil && r.URL.Path == "/" { // a redirect leads to where the answer would be good
		s.answer(w)
		return
	}
	if r.URL.Path != "/" {
		_, _ = fmt.Fprintf(w, answerXML, "arn:aws:sts::"+account+":assumed-role/app/session", account)
		return
	}
	q := r.URL.Query()
	id, _, _ := strings.Cut(q.Get("X-Amz-Credential"), "/")
	p, ok := s.keys[id]
	at, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	if !ok || p.inactive || err != nil || p.token != q.Get("X-Amz-Security-Token") || r.Method != http.MethodGet || r.URL.Path != "/" {
		http.Error(w, "<Error><Code>InvalidClientTokenId</Code></Error>", http.StatusForbidden)
		return
	}
	plain := url.Values{}
	for name, v := range q {
		if !strings.HasPrefix(name, "X-Amz-") || name == "X-Amz-Expires" {
			plain[name] = v
		}
	}
	again := proof{query: plain, host: "http://" + r.Host, id: id, p: p, at: at, region: strings.Split(q.Get("X-Amz-Credential"), "/")[2]}
	for name := range strings.SplitSeq(q.Get("X-Amz-SignedHeaders"), ";") {
		if name != "host" {
			again.header = append(again.header, name, r.Header.Get(name))
		}
	}
	if want, err := url.ParseQuery(again.sign()); err != nil || want.Get("X-Amz-Signature") != q.Get("X-Amz-Signature") {
		http.Error(w, "<Error><Code>SignatureDoesNotMatch</Code></Error>", http.StatusForbidden)
		return
	}
	_, _ = fmt.Fprintf(w, answerXML, p.arn, strings.Split(p.arn, ":")[4])
}

const answerXML = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult><Arn>%s</Arn><UserId>AIDA:x</UserId><Account>%s</Account></GetCallerIdentityResult>
  <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>
`

// proof is a signed request that can be made in the wrong way.
type proof struct {
	query                  url.Values
	host, id, method       string
	p                      principal
	at                     time.Time
	region, service, extra string
	header                 []string
}

func (s *sts) proof(id string) proof {
	return proof{
		query: url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Expires": {"60"}}, host: s.url,
		id: id, p: s.keys[id], at: t0, region: "eu-west-1", header: []string{"X-Keyrot-Server-Id", "keyrot.example"},
	}
}

func (p proof) sign() string {
	if p.method == "" {
		p.method = http.MethodGet
	}
	if p.service == "" {
		p.service = "sts"
	}
	req, err := http.NewRequestWithContext(context.Background(), p.method, p.host+"/?"+p.query.Encode(), nil)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(p.header); i += 2 {
		req.Header.Set(p.header[i], p.header[i+1])
	}
	nothing := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), aws.Credentials{AccessKeyID: p.id, SecretAccessKey: p.p.secret, SessionToken: p.p.token},
		req, hex.EncodeToString(nothing[:]), p.service, p.region, p.at)
	if err != nil {
		panic(err)
	}
	_, query, _ := strings.Cut(signed, "?")
	return query + p.extra
}

func (p proof) but(f func(*proof)) proof {
	q := url.Values{}
	for k, v := range p.query {
		q[k] = v
	}
	p.query = q
	f(&p)
	return p
}

func (s *sts) verifier(arns ...string) *callerid.Verifier {
	return &callerid.Verifier{
		Identities: []callerid.Identity{{Name: "aws", Users: []string{"ci"}, Role: auth.Reader, AWS: &callerid.AWS{ARNs: arns}}},
		ServerID:   "keyrot.example", STS: map[string]string{"eu-west-1": s.url}, Now: func() time.Time { return t0.Add(10 * time.Second) },
	}
}

const (
	roleApp = "arn:aws:iam::" + account + ":role/app"
	userCI  = "arn:aws:iam::" + account + ":user/team/*"
)

func TestAWSIsAccepted(t *testing.T) {
	t.Parallel()
	s := newSTS(t)
	v := s.verifier(roleApp, userCI)
	for id, want := range map[string]string{
		"ASIAROLEROLEROLEROLE": "aws:" + roleApp,
		"AKIAUSERUSERUSERUSER": "aws:arn:aws:iam::" + account + ":user/team/ci",
	} {
		k, err := v.AWS(t.Context(), s.proof(id).sign())
		if err != nil || k.ID != want || !k.MayRead("ci") || k.MayRead("root") {
			t.Errorf("AWS = %+v, %v, want %s", k, err, want)
		}
		if again, ok := v.External(k.ID, k.Mark()); !ok || again.ID != k.ID {
			t.Errorf("External = %+v, %t", again, ok)
		}
	}
	// The client that we offer makes what the server takes.
	p := s.keys["ASIAROLEROLEROLEROLE"]
	signer := awsidentity.Signer{
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "ASIAROLEROLEROLEROLE", SecretAccessKey: p.secret, SessionToken: p.token}, nil
		}),
		Region: "eu-west-1", ServerID: "keyrot.example", Endpoint: s.url,
	}
	header, value, err := signer.Proof(t.Context(), t0)
	if err != nil || header != "X-Keyrot-Aws-Identity" {
		t.Fatalf("Proof = %q, %v", header, err)
	}
	if k, err := v.AWS(t.Context(), value); err != nil || k.ID != "aws:"+roleApp {
		t.Errorf("AWS of our own client = %+v, %v", k, err)
	}
	if strings.Contains(value, p.secret+"&") {
		t.Error("the proof holds the secret")
	}
}

// TestAWSAttacks: each row is a request that must not be let in, and says
// whether anything was sent to STS for it.
func TestAWSAttacks(t *testing.T) {
	t.Parallel()
	s := newSTS(t)
	v := s.verifier(roleApp, userCI)
	good := s.proof("ASIAROLEROLEROLEROLE")
	set := func(name string, values ...string) func(*proof) { return func(p *proof) { p.query[name] = values } }
	extra := func(text string) func(*proof) { return func(p *proof) { p.extra = text } }
	edit := func(old, text string) string {
		out := strings.Replace(good.sign(), old, text, 1)
		if out == good.sign() {
			t.Fatalf("%q is not in the request", old)
		}
		return out
	}
	now := v.Now()
	for _, tc := range []struct {
		name, query string
		sent        bool
	}{
		{"nothing", "", false},
		{"a URL of another host", "https://evil.example/?" + good.sign(), false},
		{"a path", "/?" + good.sign(), false},
		{"signed for another host", good.but(func(p *proof) { p.host = "https://evil.example" }).sign(), true},
		{"a host in the parameters", good.but(extra("&Host=evil.example")).sign(), false},
		{"another action", good.but(set("Action", "GetSessionToken")).sign(), false},
		{"two actions", good.but(set("Action", "GetCallerIdentity", "AssumeRole")).sign(), false},
		{"an action beside it", good.but(extra("&Action=GetFederationToken")).sign(), false},
		{"an action in small letters", good.but(extra("&action=AssumeRole")).sign(), false},
		{"an action behind a semicolon", good.but(extra(";Action=AssumeRole")).sign(), false},
		{"an action with a line feed", good.but(set("Action", "GetCallerIdentity\n")).sign(), false},
		{"another version", good.but(set("Version", "2011-06-16")).sign(), false},
		{"a parameter more", good.but(set("RoleArn", "x")).sign(), false},
		{"a fragment", good.but(extra("#x")).sign(), false},
		{"signed as POST", good.but(func(p *proof) { p.method = "POST" }).sign(), true},
		{"the server's id not signed", good.but(func(p *proof) { p.header = nil }).sign(), false},
		{"the server's id not signed but claimed", strings.Replace(good.but(func(p *proof) { p.header = nil }).sign(), "SignedHeaders=host", "SignedHeaders=host%3Bx-keyrot-server-id", 1), true},
		{"another server's id", good.but(func(p *proof) { p.header = []string{"X-Keyrot-Server-Id", "keyrot.evil"} }).sign(), true},
		{"another service's header", good.but(func(p *proof) { p.header = []string{"X-K8s-Aws-Id", "cluster"} }).sign(), false},
		{"a header more", good.but(func(p *proof) { p.header = append(p.header[:2:2], "X-Forwarded-Host", "evil") }).sign(), false},
		{"no signature", edit("X-Amz-Signature", "X-Amz-Nothing"), false},
		{"another signature", edit("X-Amz-Signature=", "X-Amz-Signature="+strings.Repeat("0", 64)+"&x="), false},
		{"two signatures", good.but(extra("&X-Amz-Signature=" + strings.Repeat("0", 64))).sign(), false},
		{"SigV4A", edit("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), false},
		{"expired", good.but(func(p *proof) { p.at = now.Add(-91 * time.Second) }).sign(), false},
		{"long expired, made to live long", good.but(func(p *proof) { p.at = now.Add(-15*time.Minute - time.Second); p.query.Set("X-Amz-Expires", "900") }).sign(), false},
		{"from the future", good.but(func(p *proof) { p.at = now.Add(31 * time.Second) }).sign(), false},
		{"made to live for an hour", good.but(set("X-Amz-Expires", "3600")).sign(), false},
		{"made to live for 16 minutes", good.but(set("X-Amz-Expires", "960")).sign(), false},
		{"no life", edit("X-Amz-Expires=60&", ""), false},
		{"no action", edit("Action=GetCallerIdentity&", ""), false},
		{"a life of none", good.but(set("X-Amz-Expires", "0")).sign(), false},
		{"a life that is no number", good.but(set("X-Amz-Expires", "+60")).sign(), false},
		{"the life changed", edit("X-Amz-Expires=60", "X-Amz-Expires=61"), true},
		{"the date changed", edit("X-Amz-Date=20260301T120000Z", "X-Amz-Date=20260301T120001Z"), true},
		{"a date that is none", edit("X-Amz-Date=20260301T120000Z", "X-Amz-Date=20261301T120000Z"), false},
		{"the key of another day", edit("%2F20260301%2F", "%2F20260228%2F"), false},
		{"another region's STS", good.but(func(p *proof) { p.region = "us-east-1" }).sign(), false},
		{"a host for a region", good.but(func(p *proof) { p.region = "evil.example" }).sign(), false},
		{"a path for a region", edit("eu-west-1", "..%2Feu-west-1"), false},
		{"another service", good.but(func(p *proof) { p.service = "iam" }).sign(), false},
		{"an unknown key", good.but(func(p *proof) { p.id = "ASIANOBODYNOBODYNOBO" }).sign(), true},
		{"another secret", good.but(func(p *proof) { p.p.secret = "x" }).sign(), true},
		{"no session token", good.but(func(p *proof) { p.p.token = "" }).sign(), true},
		{"an inactive key", s.proof("AKIAINACTIVEINACTIVE").sign(), true},
		{"a key id in Cyrillic", edit("ASIAROLE", "\u0410SIAROLE"), false},
		{"a NUL", good.but(extra("%00")).sign(), false},
		{"a broken escape", good.but(extra("%zz")).sign(), false},
		{"oversized", good.but(func(p *proof) { p.p.token = strings.Repeat("a", 9000) }).sign(), false},
	} {
		before := s.asked.Load()
		k, err := v.AWS(t.Context(), tc.query)
		if !errors.Is(err, auth.ErrBadKey) || k.ID != "" {
			t.Errorf("%s: AWS = %+v, %v, want ErrBadKey", tc.name, k, err)
		}
		if sent := s.asked.Load() > before; sent != tc.sent {
			t.Errorf("%s: sent to STS = %t, want %t (%v)", tc.name, sent, tc.sent, err)
		}
		if err != nil && strings.Contains(err.Error(), "Signature=") {
			t.Errorf("%s: the error holds the request: %v", tc.name, err)
		}
	}
	other := s.verifier(roleApp)
	other.ServerID = "keyrot.evil"
	if _, err := other.AWS(t.Context(), good.sign()); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("replayed to another server: AWS = %v, want ErrBadKey", err)
	}
	other.ServerID = ""
	if _, err := other.AWS(t.Context(), good.but(func(p *proof) { p.header = []string{"X-Keyrot-Server-Id", ""} }).sign()); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("to a server without an id: AWS = %v, want ErrBadKey", err)
	}
	if _, err := v.AWS(t.Context(), good.sign()); err != nil {
		t.Errorf("the request that the rows were made of = %v: they prove nothing", err)
	}
}

// TestOtherPrincipals: whom STS names decides, and nothing that a caller can
// choose about itself.
func TestOtherPrincipals(t *testing.T) {
	t.Parallel()
	s := newSTS(t)
	v := s.verifier("arn:aws:iam::"+account+":role/app", "arn:aws:iam::"+account+":role/web-*", "arn:aws:iam::"+account+":user/team/*")
	for arn, ok := range map[string]bool{
		"arn:aws:sts::" + account + ":assumed-role/app/session":            true,
		"arn:aws:sts::" + account + ":assumed-role/web-1/botocore-session": true,
		"arn:aws:iam::" + account + ":user/team/ci":                        true,
		"arn:aws:sts::999999999999:assumed-role/app/session":               false,
		"arn:aws-cn:sts::" + account + ":assumed-role/app/session":         false,
		"arn:aws:sts::" + account + ":assumed-role/other/app":              false,
		"arn:aws:sts::" + account + ":assumed-role/other/role=app":         false,
		"arn:aws:sts::" + account + ":assumed-role/other/role/app":         false,
		"arn:aws:sts::" + account + ":assumed-role/app":                    false,
		"arn:aws:sts::" + account + ":assumed-role/app/":                   false,
		"arn:aws:sts::" + account + ":assumed-role/web-1/../app/session":   false,
		"arn:aws:sts::" + account + ":assumed-role/App/session":            false,
		"arn:aws:sts::" + account + ":assumed-role/\u0430pp/session":       false,
		"arn:aws:sts::" + account + ":assumed-role/app/session\n":          false,
		"arn:aws:sts::" + account + ":federated-user/app":                  false,
		"arn:aws:iam::" + account + ":role/app":                            false,
		"arn:aws:iam::" + account + ":root":                                false,
		"arn:aws:iam::" + account + ":user/ci":                             false,
		"arn:aws:iam::" + account + ":user/team/sub/ci":                    false,
		"arn:aws:iam::" + account + ":user/evil/team/ci":                   false,
		"arn:aws:iam::" + account + ":user/team/":                          false,
		"arn:aws:iam::" + account + ":user/role/app":                       false,
		"arn:aws:iam::999999999999:user/team/ci":                           false,
		"":                                                                 false,
	} {
		s.keys["AKIAUSERUSERUSERUSER"] = principal{secret: "s2", arn: arn}
		if arn == "" {
			s.keys["AKIAUSERUSERUSERUSER"] = principal{secret: "s2", arn: "::::" + account}
		}
		k, err := v.AWS(t.Context(), s.proof("AKIAUSERUSERUSERUSER").sign())
		if ok != (err == nil) || !ok && !errors.Is(err, auth.ErrBadKey) {
			t.Errorf("%q: AWS = %+v, %v, want accepted %t", arn, k, err, ok)
		}
	}
}

func TestAnswersOfSTS(t *testing.T) {
	t.Parallel()
	s := newSTS(t)
	v := s.verifier(roleApp, userCI)
	good := fmt.Sprintf(answerXML, "arn:aws:sts::"+account+":assumed-role/app/session", account)
	say := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(status); _, _ = w.Write([]byte(body)) }
	}
	for _, tc := range []struct {
		name   string
		answer func(http.ResponseWriter)
		want   string // accepted, refused or unavailable
	}{
		{"as it must be", say(200, good), "accepted"},
		{"a refusal", say(403, "<Error><Code>InvalidClientTokenId</Code></Error>"), "refused"},
		{"a success of another status", say(203, good), "unavailable"},
		{"a refusal as AWS writes it", say(403, "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code></Error></ErrorResponse>"), "refused"},
		{"a refusal with a good body", say(403, good), "unavailable"},
		{"a firewall's refusal", say(403, "<html><body>Forbidden</body></html>"), "unavailable"},
		{"a gateway's refusal", say(403, `{"message":"Forbidden"}`), "unavailable"},
		{"a proxy that asks for credentials", say(407, "<html>log in</html>"), "unavailable"},
		{"nothing but a status", say(404, ""), "unavailable"},
		{"a refusal that is cut", say(403, "<ErrorResponse><Error><Code>InvalidClientTo"), "unavailable"},
		{"throttled", say(400, "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>"), "unavailable"},
		{"throttled by status", say(429, ""), "unavailable"},
		{"broken", say(500, good), "unavailable"},
		{"a redirect", func(w http.ResponseWriter) { w.Header().Set("Location", s.url+"/x"); w.WriteHeader(307) }, "unavailable"},
		{"oversized", say(200, good+strings.Repeat(" ", 20<<10)), "unavailable"},
		{"empty", say(200, ""), "unavailable"},
		{"HTML", say(200, "<html></html>"), "unavailable"},
		{"JSON", say(200, `{"Arn":"arn:aws:sts::1:assumed-role/app/s"}`), "unavailable"},
		{"another namespace", say(200, strings.Replace(good, "https://sts.amazonaws.com/doc/2011-06-15/", "urn:x", 1)), "unavailable"},
		{"a document type", say(200, `<!DOCTYPE x [<!ENTITY e "app">]>`+good), "unavailable"},
		{"a comment inside the ARN", say(200, strings.Replace(good, "role/app", "role/<!-- -->app", 1)), "unavailable"},
		{"two ARNs", say(200, strings.Replace(good, "<Arn>", "<Arn>arn:aws:iam::"+account+":user/x</Arn><Arn>", 1)), "unavailable"},
		{"two results", say(200, strings.Replace(good, "</GetCallerIdentityResult>", "</GetCallerIdentityResult><GetCallerIdentityResult/>", 1)), "unavailable"},
		{"two documents", say(200, good+good), "unavailable"},
		{"text behind it", say(200, good+"x"), "unavailable"},
		{"another account in the ARN", say(200, strings.Replace(good, "sts::"+account, "sts::999999999999", 1)), "refused"},
		{"a user of another account", say(200, fmt.Sprintf(answerXML, "arn:aws:iam::"+account+":user/team/ci", "999999999999")), "refused"},
		{"another account than the ARN's", say(200, strings.Replace(good, "<Account>"+account, "<Account>999999999999", 1)), "refused"},
	} {
		s.answer = tc.answer
		_, err := v.AWS(t.Context(), s.proof("ASIAROLEROLEROLEROLE").sign())
		got := "accepted"
		if errors.Is(err, auth.ErrBadKey) {
			got = "refused"
		} else if err != nil {
			got = "unavailable"
		}
		if got != tc.want {
			t.Errorf("%s: AWS = %v, want it %s", tc.name, err, tc.want)
		}
	}
	dead := s.verifier(roleApp)
	dead.STS["eu-west-1"] = "http://127.0.0.1:1"
	if _, err := dead.AWS(t.Context(), s.proof("ASIAROLEROLEROLEROLE").sign()); err == nil || errors.Is(err, auth.ErrBadKey) || strings.Contains(err.Error(), "X-Amz") {
		t.Errorf("nobody there: AWS = %v, want another error than ErrBadKey, without the request", err)
	}
}

// waiting is a way to STS on which every request waits to be let go.
type waiting struct {
	under, sent atomic.Int64
	release     chan struct{}
}

func (w *waiting) RoundTrip(r *http.Request) (*http.Response, error) {
	w.sent.Add(1)
	w.under.Add(1)
	defer w.under.Add(-1)
	select {
	case <-w.release:
		body := io.NopCloser(strings.NewReader("<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>"))
		return &http.Response{StatusCode: http.StatusForbidden, Body: body, Request: r}, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// TestSTSIsAskedWithinBounds: however many callers come, only so many requests
// are under way, nobody waits for ever, and a failure is not remembered.
func TestSTSIsAskedWithinBounds(t *testing.T) {
	t.Parallel()
	query := newSTS(t).proof("ASIAROLEROLEROLEROLE").sign()
	synctest.Test(t, func(t *testing.T) {
		way := &waiting{release: make(chan struct{})}
		v := (&sts{url: "http://sts.example"}).verifier(roleApp)
		v.HTTP = &http.Client{Transport: way}
		var refused, late atomic.Int64
		ask := func(n int) {
			for range n {
				go func() {
					if _, err := v.AWS(t.Context(), query); errors.Is(err, auth.ErrBadKey) {
						refused.Add(1)
					} else if err != nil {
						late.Add(1)
					}
				}()
			}
			synctest.Wait()
		}
		ask(48)
		if n := way.under.Load(); n != 16 {
			t.Errorf("%d requests are under way, want 16", n)
		}
		time.Sleep(6 * time.Second) // of the bubble's clock
		synctest.Wait()
		if n := late.Load(); n != 48 || way.under.Load() != 0 {
			t.Errorf("after 6 s %d callers are told that STS cannot be asked, %d wait, want 48, 0", n, way.under.Load())
		}
		close(way.release)
		ask(48)
		if n := refused.Load(); n != 48 || way.sent.Load() < 48 {
			t.Errorf("%d callers are refused by %d requests, want each by its own", n, way.sent.Load())
		}
	})
}
