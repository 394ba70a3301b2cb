package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// userName is IAM's rule for user names (IAM API reference, CreateUser).
var userName = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)

// token answers POST /generate-token.
func (s *Server) token(ctx context.Context, r request) (answer, error) {
	token, ttl, err := s.Tokens.Issue(ctx, r.caller)
	if err != nil {
		return answer{}, err
	}
	return answer{body: api.Token{Token: token, ExpiresIn: int(ttl / time.Second)}}, nil
}

// activeKey answers GET /active-key. Permission is judged before the user is
// looked up, so that an answer does not tell which users exist.
func (s *Server) activeKey(ctx context.Context, r request) (answer, error) {
	users := r.query[api.ParamUser]
	switch {
	case len(users) == 0 || users[0] == "":
		return answer{}, &api.BadRequest{Text: "query parameter username is missing"}
	case len(users) > 1:
		return answer{}, &api.BadRequest{Text: "query parameter username is given more than once"}
	case !userName.MatchString(users[0]):
		return answer{}, &api.BadRequest{Text: "username is not a valid IAM user name"}
	}
	unchanged := false
	var held func(rotate.Credential) bool
	if tags := r.header.Values("If-None-Match"); len(tags) > 0 {
		held = func(c rotate.Credential) bool {
			unchanged = matches(tags, etag(c))
			return unchanged
		}
	}
	c, err := s.give(ctx, r, users[0], held)
	if err != nil {
		s.ready.users.Delete(users[0])
		return answer{}, err
	}
	if unchanged {
		return answer{status: http.StatusNotModified, etag: etag(c)}, nil
	}
	return s.ready.answer(c)
}

// container answers GET /container-credentials/{user}.
func (s *Server) container(ctx context.Context, r request) (answer, error) {
	if !userName.MatchString(r.user) {
		return answer{}, &api.BadRequest{Text: "the path does not end in a valid IAM user name"}
	}
	c, err := s.give(ctx, r, r.user, nil)
	if err != nil {
		return answer{}, err
	}
	return answer{body: api.ContainerOf(credential(c), r.header.Get("User-Agent"))}, nil
}

// ready keeps the answer that each user's credential makes, for as long as the
// credential is the same. The zero value is ready; safe for concurrent use.
type ready struct{ users sync.Map } // user → prepared

type prepared struct {
	of rotate.Credential
	answer
}

func (r *ready) answer(c rotate.Credential) (answer, error) {
	if p, ok := r.users.Load(c.User); ok && p.(prepared).of == c {
		return p.(prepared).answer, nil
	}
	raw, err := json.Marshal(credential(c))
	if err != nil {
		return answer{}, fmt.Errorf("encoding a credential: %w", err)
	}
	a := answer{etag: etag(c), raw: append(raw, '\n'), media: jsonType}
	r.users.Store(c.User, prepared{c, a})
	return a, nil
}

// give hands out the user's credential if the caller may read it.
func (s *Server) give(ctx context.Context, r request, user string, holds func(rotate.Credential) bool) (rotate.Credential, error) {
	if !r.caller.MayRead(user) {
		return rotate.Credential{}, api.ErrNotAllowed
	}
	return s.Credentials.Give(ctx, user, rotate.Recipient{Caller: r.caller.ID, Addr: r.addr, Holds: holds})
}

// credential is c as it travels.
func credential(c rotate.Credential) api.Credential {
	return api.Credential{
		AccessKeyID:     c.KeyID,
		SecretAccessKey: c.Secret.Reveal(),
		Expiration:      c.Expiration.UTC().Truncate(time.Second), // never later than promised
		CreateDate:      c.Created.UTC(),
		UserName:        c.User,
	}
}

// etag names the answer without its secret: an access key id has one secret
// for ever, and Expiration may be extended.
func etag(c rotate.Credential) string {
	h := sha256.Sum256([]byte(c.KeyID + "\x00" + c.Expiration.UTC().Format(time.RFC3339Nano)))
	return `"` + hex.EncodeToString(h[:8]) + `"`
}

// matches implements If-None-Match (RFC 9110 §13.1.2), weak comparison.
func matches(headers []string, tag string) bool {
	for _, h := range headers {
		for candidate := range strings.SplitSeq(h, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// healthz answers GET /healthz: red when a user's rotation is late, or when the
// audit log takes no hand-outs.
func (s *Server) healthz(ctx context.Context, _ request) (answer, error) {
	h, err := s.Health.Health(ctx)
	if err != nil {
		return answer{}, err
	}
	switch {
	case h.Overdue > 0:
		h.Status = "overdue"
	case h.Unrecorded > 0:
		h.Status = "unrecorded"
	default:
		h.Status = "ok"
		return answer{body: h}, nil
	}
	return answer{status: http.StatusServiceUnavailable, body: h}, nil
}

// readyz answers GET /readyz: green while there is something to hand out, also
// if that is what was promised before the store failed. Whoever sends clients
// elsewhere by this route must not keep them from it.
func (s *Server) readyz(ctx context.Context, _ request) (answer, error) {
	h, err := s.Health.Health(ctx)
	if err != nil && h.Serving == 0 {
		return answer{}, err
	}
	h.Status = "ok"
	if h.Serving == 0 {
		h.Status = "starting"
		return answer{status: http.StatusServiceUnavailable, body: h}, nil
	}
	return answer{body: h}, nil
}

// livez answers GET /livez: green while the process answers at all. Only a
// restart can heal what makes it red, so that a supervisor may restart by it.
func (s *Server) livez(context.Context, request) (answer, error) {
	return answer{body: struct {
		Status string `json:"status"`
	}{"ok"}}, nil
}
