package awscreds_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
	"github.com/keyrot/keyrot/pkg/client/awscreds"
)

// A program gives the SDK a provider instead of a key; nothing else changes.
func Example() {
	keyrot := &client.Client{Endpoint: "https://keyrot.example:8443", APIKey: "krk_..."}
	cfg := aws.Config{Region: "eu-west-1", Credentials: awscreds.New(keyrot, "ci")}
	_ = cfg // s3.NewFromConfig(cfg), as ever
}

// fake hands out a key, or fails.
type fake struct {
	status  atomic.Int64
	code    string
	key     atomic.Value
	asked   atomic.Int64
	created time.Time
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if st := int(f.status.Load()); st != 0 {
		w.WriteHeader(st)
		_ = json.NewEncoder(w).Encode(api.Error{Message: "x", Code: f.code})
		return
	}
	if r.URL.Path == api.PathToken {
		_ = json.NewEncoder(w).Encode(api.Token{Token: "T", ExpiresIn: 3600})
		return
	}
	f.asked.Add(1)
	id := f.key.Load().(string)
	w.Header().Set("ETag", `"`+id+`"`)
	if r.Header.Get("If-None-Match") == `"`+id+`"` {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_ = json.NewEncoder(w).Encode(api.Credential{AccessKeyID: id, SecretAccessKey: "s", CreateDate: f.created, Expiration: f.created.Add(12 * time.Minute)})
}

func TestProvider(t *testing.T) {
	t.Parallel()
	now := time.Now()
	f := &fake{created: now, code: "unavailable"}
	f.key.Store("A")
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	p := &awscreds.Provider{Client: &client.Client{Endpoint: srv.URL, APIKey: "K"}, User: "ci", Now: func() time.Time { return now }}
	want := func(what, id string) {
		t.Helper()
		c, err := p.Retrieve(t.Context())
		if err != nil || c.AccessKeyID != id || !c.CanExpire || !c.Expires.After(now) {
			t.Errorf("%s: Retrieve = %s until %s, %v, want %s", what, c.AccessKeyID, c.Expires, err, id)
		}
	}
	want("first", "A")
	want("again", "A")
	if n := f.asked.Load(); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
	now = now.Add(10*time.Minute + time.Second)
	want("nothing new yet (304)", "A")
	f.key.Store("B")
	f.status.Store(503)
	now = now.Add(time.Minute)
	want("the server fails, the key is still good", "A")
	now = f.created.Add(12 * time.Minute)
	if c, err := p.Retrieve(t.Context()); !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("at the Expiration: %s, %v, want the server's error", c.AccessKeyID, err)
	}
	f.status.Store(0)
	f.created = now
	want("the server is back", "B")
	f.status.Store(403)
	now = now.Add(11 * time.Minute)
	want("a gateway refuses in its own words", "B")
	f.code = "user_not_allowed"
	now = now.Add(30 * time.Second)
	if _, err := p.Retrieve(t.Context()); !errors.Is(err, api.ErrNotAllowed) {
		t.Errorf("refused: %v, want ErrNotAllowed", err)
	}
	f.code = "unavailable"
	f.status.Store(503)
	if c, err := p.Retrieve(t.Context()); err == nil {
		t.Errorf("after a refusal: %s, want an error", c.AccessKeyID)
	}
}

func TestInTheSDKsCache(t *testing.T) {
	t.Parallel()
	f := &fake{created: time.Now()}
	f.key.Store("A")
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	p := awscreds.New(&client.Client{Endpoint: srv.URL, APIKey: "K"}, "ci")
	for range 5 {
		if c, err := p.Retrieve(context.Background()); err != nil || c.AccessKeyID != "A" {
			t.Errorf("Retrieve = %s, %v", c.AccessKeyID, err)
		}
	}
	if n := f.asked.Load(); n != 1 {
		t.Errorf("5 calls asked %d times, want 1", n)
	}
}

// The SDK holds Expires against this machine's clock, and the provider the
// Expiration against the server's.
func TestAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-24 * time.Hour, -10 * time.Minute, -time.Minute, time.Minute, 10 * time.Minute, 24 * time.Hour} {
		f := &fake{created: time.Now()}
		f.key.Store("A")
		srv := httptest.NewServer(f)
		local := time.Now().Add(off)
		p := &awscreds.Provider{Client: &client.Client{Endpoint: srv.URL, APIKey: "K", Now: func() time.Time { return local }}, User: "ci"}
		c, err := p.Retrieve(t.Context())
		if left := c.Expires.Sub(local); err != nil || left < 9*time.Minute || left > 12*time.Minute {
			t.Errorf("off by %s: Retrieve = until %s from now, %v; want ten minutes", off, left, err)
		}
		srv.Close()
		local = local.Add(11 * time.Minute)
		if c, err := p.Retrieve(t.Context()); err != nil || c.AccessKeyID != "A" {
			t.Errorf("off by %s, a minute before the Expiration: %v", off, err)
		}
		local = local.Add(time.Minute)
		if _, err := p.Retrieve(t.Context()); err == nil {
			t.Errorf("off by %s: the key is given after its Expiration", off)
		}
	}
}
