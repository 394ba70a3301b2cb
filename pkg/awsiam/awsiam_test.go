package awsiam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/internal/awsanswer"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// service is an IAM and STS that answers as told and counts.
type service struct {
	*httptest.Server
	mu    sync.Mutex
	calls map[string]int // by action
	conns int
	agent string
}

func newService(t *testing.T, answer func(w http.ResponseWriter, action string, form url.Values)) (*service, aws.Config) {
	t.Helper()
	s := &service{calls: map[string]int{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		s.mu.Lock()
		s.calls[form.Get("Action")]++
		s.agent = r.UserAgent()
		s.mu.Unlock()
		answer(w, form.Get("Action"), form)
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s, aws.Config{
		Region: "us-east-1", BaseEndpoint: &s.URL, Credentials: pair{"AKIAOWN", rotate.NewSecret("own")},
		Retryer: func() aws.Retryer { return quick{} },
	}
}

// quick retries twice, without waiting.
type quick struct{ aws.NopRetryer }

func (quick) IsErrorRetryable(error) bool                  { return true }
func (quick) MaxAttempts() int                             { return 3 }
func (quick) RetryDelay(int, error) (time.Duration, error) { return 0, nil }
func (quick) GetRetryToken(context.Context, error) (func(error) error, error) {
	return func(error) error { return nil }, nil
}

func (s *service) count(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}

func fail(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>m</Message></Error><RequestId>r</RequestId></ErrorResponse>`, code)
}

func reply(w http.ResponseWriter, action, result string) {
	_, _ = fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></%[1]sResponse>`, action, result)
}

func reset(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// A lost reply must not make a second key: one request, whatever happens.
// Deletion is retried, which shows that the server's faults are retryable, except
// when it is throttled: then it is left to whoever waits for the pace.
func TestCreateIsSentOnce(t *testing.T) {
	t.Parallel()
	faults := map[string]func(w http.ResponseWriter, arrived func()){
		"500":        func(w http.ResponseWriter, _ func()) { fail(w, 500, "InternalFailure") },
		"503":        func(w http.ResponseWriter, _ func()) { fail(w, 503, "ServiceUnavailable") },
		"throttling": func(w http.ResponseWriter, _ func()) { fail(w, 400, "Throttling") },
		"reset":      func(w http.ResponseWriter, _ func()) { reset(w) },
		"timeout":    func(_ http.ResponseWriter, arrived func()) { arrived() },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			arrived := make(chan struct{}, 1)
			srv, cfg := newService(t, func(w http.ResponseWriter, _ string, _ url.Values) {
				fault(w, func() { arrived <- struct{}{} })
			})
			if name == "timeout" { // patience ends when the request has arrived, so that no clock decides
				cfg.HTTPClient = doer(func(r *http.Request) (*http.Response, error) {
					if resp, err := http.DefaultClient.Do(r); err == nil {
						_ = resp.Body.Close()
					}
					<-arrived
					return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}
				})
			}
			a := New(cfg, &rotate.Clock{})
			_, secret, err := a.Create(ctx, "u")
			if err == nil || !secret.IsZero() {
				t.Fatalf("Create = %v, want an error", err)
			}
			if got := srv.count("CreateAccessKey"); got != 1 {
				t.Errorf("CreateAccessKey was sent %d times, want once", got)
			}
			_ = a.Delete(ctx, "u", "AKIAX")
			want := 3
			if name == "throttling" {
				want = 1
			}
			if got := srv.count("DeleteAccessKey"); got != want {
				t.Errorf("DeleteAccessKey was sent %d times, want %d", got, want)
			}
		})
	}
}

func TestErrorsAreTranslated(t *testing.T) {
	t.Parallel()
	u := rotate.User{Name: "u", ID: "AIDAU"}
	create := func(ctx context.Context, a *IAM) error { _, _, err := a.Create(ctx, "u"); return err }
	keys := func(ctx context.Context, a *IAM) error { _, err := a.Keys(ctx, "u"); return err }
	used := func(ctx context.Context, a *IAM) error { _, err := a.LastUsed(ctx, "k"); return err }
	set := func(ctx context.Context, a *IAM) error { return a.SetStatus(ctx, "u", "k", plan.Inactive) }
	del := func(ctx context.Context, a *IAM) error { return a.Delete(ctx, "u", "k") }
	verify := func(ctx context.Context, a *IAM) error { return a.Verify(ctx, u, "k", rotate.NewSecret("s")) }
	all := []error{rotate.ErrNoUser, rotate.ErrNoKey, rotate.ErrLimit, rotate.ErrThrottled, rotate.ErrDenied, rotate.ErrRefused}
	for _, row := range []struct {
		name string
		call func(context.Context, *IAM) error
		code string
		want error // nil: none of the sentinels
	}{
		{"create at the quota", create, "LimitExceeded", rotate.ErrLimit},
		{"create for nobody", create, "NoSuchEntity", rotate.ErrNoUser},
		{"create throttled", create, "Throttling", rotate.ErrThrottled},
		{"create forbidden", create, "AccessDenied", rotate.ErrDenied},
		{"create with bad credentials of our own", create, "InvalidClientTokenId", rotate.ErrDenied},
		{"create with an outage", create, "ServiceFailure", nil},
		{"list for nobody", keys, "NoSuchEntity", rotate.ErrNoUser},
		{"last use of nothing", used, "NoSuchEntity", rotate.ErrNoKey},
		{"deactivate nothing", set, "NoSuchEntity", rotate.ErrNoKey},
		{"delete forbidden", del, "AccessDenied", rotate.ErrDenied},
		{"verify a key nobody knows", verify, "InvalidClientTokenId", rotate.ErrRefused},
		{"verify a wrong secret", verify, "SignatureDoesNotMatch", rotate.ErrRefused},
		{"verify throttled", verify, "Throttling", rotate.ErrThrottled},
		{"verify forbidden says nothing about the key", verify, "AccessDenied", nil},
		{"verify with an outage", verify, "InternalFailure", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, cfg := newService(t, func(w http.ResponseWriter, _ string, _ url.Values) { fail(w, 400, row.code) })
			err := row.call(t.Context(), New(cfg, &rotate.Clock{}))
			if err == nil || !strings.Contains(err.Error(), row.code) {
				t.Fatalf("error = %v, want one that names %s", err, row.code)
			}
			for _, s := range all {
				if errors.Is(err, s) != errors.Is(row.want, s) {
					t.Errorf("errors.Is(%v, %v) = %t", err, s, errors.Is(err, s))
				}
			}
		})
	}
}

func TestDeletingNothingIsSuccess(t *testing.T) {
	t.Parallel()
	_, cfg := newService(t, func(w http.ResponseWriter, _ string, _ url.Values) { fail(w, 404, "NoSuchEntity") })
	if err := New(cfg, &rotate.Clock{}).Delete(t.Context(), "u", "k"); err != nil {
		t.Errorf("Delete = %v, want success", err)
	}
}

func TestEmptyAnswersAreErrors(t *testing.T) {
	t.Parallel()
	_, cfg := newService(t, func(w http.ResponseWriter, action string, _ url.Values) { reply(w, action, "") })
	a := New(cfg, &rotate.Clock{})
	if _, err := a.User(t.Context(), "u"); err == nil {
		t.Error("User = nil error")
	}
	if _, _, err := a.Create(t.Context(), "u"); err == nil {
		t.Error("Create = nil error")
	}
}

// another is an answer of IAM to a call that nobody here makes, as a cache may
// give it: as one to a list of keys it would be an empty list.
const another = "<TagUserResponse><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></TagUserResponse>"

// What somebody else answers with status 200 is neither yes nor no, and an
// empty list is not one.
func TestAnswersOfSomebodyElseAreUnknown(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"a page": "<!DOCTYPE html><html><body>Please sign in</body></html>", "nothing": "", "another call's answer": another} {
		_, cfg := newService(t, func(w http.ResponseWriter, _ string, _ url.Values) { _, _ = io.WriteString(w, body) })
		clock, ctx := &rotate.Clock{}, t.Context()
		a := New(cfg, clock)
		_, listErr := a.Keys(ctx, "u")
		_, _, createErr := a.Create(ctx, "u")
		_, usedErr := a.LastUsed(ctx, "k")
		for call, err := range map[string]error{
			"Keys": listErr, "Create": createErr, "LastUsed": usedErr,
			"SetStatus": a.SetStatus(ctx, "u", "k", plan.Inactive), "Delete": a.Delete(ctx, "u", "k"),
			"Verify": a.Verify(ctx, rotate.User{Name: "u", ID: "AIDAU"}, "k", rotate.NewSecret("s")),
		} {
			if !errors.Is(err, awsanswer.ErrForeign) || errors.Is(err, rotate.ErrRefused) || errors.Is(err, rotate.ErrNoKey) {
				t.Errorf("%s, answered with %s = %v, want %v", call, name, err, awsanswer.ErrForeign)
			}
		}
		if clock.Known() {
			t.Errorf("%s told the time", name)
		}
	}
}

// One call per Verify, over a shared connection, signed with the pair. The
// SDK now and then gives up a connection although the answer was fine: it
// closes the request's body while net/http is still noting that all of it was
// written. A connection for each call would be a transport for each call.
func TestVerify(t *testing.T) {
	t.Parallel()
	srv, cfg := newService(t, func(w http.ResponseWriter, action string, _ url.Values) {
		reply(w, action, "<Arn>arn:aws:iam::1:user/u</Arn><UserId>AIDAU</UserId>")
	})
	a := New(cfg, &rotate.Clock{})
	for range 3 {
		if err := a.Verify(t.Context(), rotate.User{Name: "u", ID: "AIDAU"}, "AKIAX", rotate.NewSecret("s")); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"AIDAV", ""} {
		err := a.Verify(t.Context(), rotate.User{Name: "v", ID: id}, "AKIAX", rotate.NewSecret("s"))
		if err == nil || errors.Is(err, rotate.ErrRefused) {
			t.Errorf("Verify for user id %q = %v, want an error that is not ErrRefused", id, err)
		}
	}
	if srv.count("GetCallerIdentity") != 5 || srv.conns >= 5 {
		t.Errorf("%d calls over %d connections, want 5 over shared ones", srv.count("GetCallerIdentity"), srv.conns)
	}
	if !strings.Contains(srv.agent, "keyrot") {
		t.Errorf("User-Agent %q does not name keyrot", srv.agent)
	}
}

func TestVerifyTriesOnceAndNotForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls, begun := 0, time.Now()
		a := New(aws.Config{
			Region: "us-east-1", Credentials: pair{"AKIAOWN", rotate.NewSecret("own")},
			HTTPClient: doer(func(r *http.Request) (*http.Response, error) {
				calls++
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		}, &rotate.Clock{})
		a.VerifyTimeout = 50 * time.Millisecond
		err := a.Verify(t.Context(), rotate.User{Name: "u", ID: "AIDAU"}, "AKIAX", rotate.NewSecret("s"))
		if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || calls != 1 || took != a.VerifyTimeout {
			t.Errorf("Verify = %v after %d calls and %s, want a timeout of %s after 1", err, calls, took, a.VerifyTimeout)
		}
	})
}

// doer is an HTTP client.
type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// TestCredentialsThatCannotBeHad: nothing was sent, which callers must be able
// to tell from a call whose outcome is unknown.
func TestCredentialsThatCannotBeHad(t *testing.T) {
	t.Parallel()
	iam := New(aws.Config{Region: "us-east-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("no EC2 IMDS role found")
	})}, &rotate.Clock{})
	_, keys := iam.Keys(t.Context(), "ci")
	_, _, create := iam.Create(t.Context(), "ci")
	for call, err := range map[string]error{
		"Keys": keys, "Create": create, "SetStatus": iam.SetStatus(t.Context(), "ci", "AKIA1", plan.Inactive), "Delete": iam.Delete(t.Context(), "ci", "AKIA1"),
	} {
		if !errors.Is(err, rotate.ErrNoIdentity) {
			t.Errorf("%s() = %v, want %v", call, err, rotate.ErrNoIdentity)
		}
	}
}

// TestARefusedDateSaysNothingAboutTheKey: AWS refuses a signature for its date
// with the code of a wrong secret.
func TestARefusedDateSaysNothingAboutTheKey(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"Signature expired: 20261126T100000Z is now earlier than 20261126T110000Z (20261126T111500Z - 15 min.)",
		"Signature not yet current: 20261126T120000Z is still later than 20261126T113000Z",
	} {
		a := &IAM{API: API{GetCallerIdentity: func(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
			return nil, &smithy.GenericAPIError{Code: "SignatureDoesNotMatch", Message: text}
		}}}
		if err := a.Verify(t.Context(), rotate.User{Name: "u", ID: "AIDAU"}, "AKIAX", rotate.NewSecret("s")); err == nil || errors.Is(err, rotate.ErrRefused) {
			t.Errorf("Verify = %v, want an error that is not ErrRefused", err)
		}
	}
}
