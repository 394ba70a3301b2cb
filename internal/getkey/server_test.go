package getkey

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/getkey/entry"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

// server hands out a credential of 12 minutes, or answers as it is told.
type server struct {
	requests atomic.Int64
	status   atomic.Int64 // 0: 200
	code     string
	hang     atomic.Bool
	key      atomic.Value // access key id
	created  time.Time
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if s.hang.Load() {
		<-r.Context().Done()
		return
	}
	if st := int(s.status.Load()); st != 0 {
		w.WriteHeader(st)
		_ = json.NewEncoder(w).Encode(api.Error{Message: "x", Code: s.code})
		return
	}
	if r.URL.Path == api.PathToken {
		_ = json.NewEncoder(w).Encode(api.Token{Token: "T", ExpiresIn: 300})
		return
	}
	id := s.key.Load().(string)
	if w.Header().Set("ETag", `"`+id+`"`); r.Header.Get("If-None-Match") == `"`+id+`"` {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_ = json.NewEncoder(w).Encode(api.Credential{AccessKeyID: id, SecretAccessKey: "verysecret", UserName: "ci", CreateDate: s.created, Expiration: s.created.Add(12 * time.Minute)})
}

// begin returns a source over a server and a clock that stands still.
func begin(t *testing.T) (*server, *Source, *time.Time) {
	t.Helper()
	now := time.Now()
	f := &server{created: now}
	f.key.Store("AKIAFIRST")
	return f, &Source{Fetch: f.ask, Endpoint: "https://" + serverHost, APIKey: "K", CacheDir: filepath.Join(t.TempDir(), "cache"), Now: func() time.Time { return now }}, &now
}

// shortly ends soon: a gateway that refuses would be asked again for seconds.
func shortly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

const serverHost = "keyrot.example"

// RoundTrip asks the server without a network, whose time is not a bubble's.
func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != serverHost {
		return http.DefaultTransport.RoundTrip(r)
	}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	return rec.Result(), r.Context().Err()
}

// ask is a Fetch without what only a command needs.
func (s *server) ask(ctx context.Context, src Source, user string, e Entry) (Entry, error) {
	c := &client.Client{Endpoint: src.Endpoint, APIKey: src.APIKey, Now: src.Now, HTTP: &http.Client{Transport: s}}
	c.UseToken(e.Token, e.TokenUntil)
	tag := e.Tag
	if !e.Valid(src.Clock()) {
		tag = ""
	}
	cred, newTag, err := c.CredentialIfChanged(ctx, user, tag)
	if errors.Is(err, client.ErrNotModified) {
		cred, newTag, err = api.Credential(e.Credential), e.Tag, nil
	}
	token, until := c.Token()
	return Entry{Credential: entry.Credential(cred), Tag: newTag, Token: token, TokenUntil: until, Fetched: src.Clock(), Next: NextAsk(cred, newTag, src.Clock())}, err
}
