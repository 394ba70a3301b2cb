//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/golang-jwt/jwt/v5"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client/awsidentity"
)

const identitiesYAML = `
server:
  id: 127.0.0.1
  identities:
  - {name: machines, kind: aws, arns: ["arn:aws:iam::000000000000:user/caller"], users: [app]}
  - {name: ci, kind: oidc, issuer: "https://issuer.example", audience: keyrot, subjects: ["repo:org/app:*"], jwks_url: %q, users: [app]}
`

// issuer is an OIDC issuer whose keys are served on loopback.
type issuer struct {
	key *ecdsa.PrivateKey
	url string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{
			map[string]string{"kid": "k1", "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "x": b64(point[1:33]), "y": b64(point[33:])},
		}})
	}))
	t.Cleanup(srv.Close)
	return &issuer{key: key, url: srv.URL}
}

// token writes a token into the file.
func (i *issuer) token(t *testing.T, file, subject, audience string, life time.Duration) {
	t.Helper()
	now := time.Now()
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "https://issuer.example", "aud": audience, "sub": subject, "iat": now.Add(-time.Hour).Unix(), "exp": now.Add(life).Unix(),
	})
	tok.Header["kid"] = "k1"
	signed, err := tok.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(signed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// identified is a daemon that accepts one IAM user and one issuer's tokens.
type identified struct {
	*scene
	caller aws.Credentials
	issuer *issuer
	args   []string // of serve
}

func newIdentified(t *testing.T) *identified {
	t.Helper()
	return identifiedOn(t, onVersitygw(t, "app", "batch"), func(aws.Credentials) {})
}

// identifiedOn is newIdentified on a scene; know is told the caller's key.
func identifiedOn(t *testing.T, on *scene, know func(aws.Credentials), args ...string) *identified {
	t.Helper()
	s := &identified{scene: on, issuer: newIssuer(t)}
	s.Key = "" // nobody has an API key
	name := aws.String("caller")
	if _, err := s.admin.CreateUser(t.Context(), &iam.CreateUserInput{UserName: name}); err != nil {
		t.Fatal(err)
	}
	made, err := s.admin.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		t.Fatal(err)
	}
	s.caller = aws.Credentials{AccessKeyID: *made.AccessKey.AccessKeyId, SecretAccessKey: *made.AccessKey.SecretAccessKey}
	know(s.caller)
	file := filepath.Join(s.Dir, "identities.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, identitiesYAML, s.issuer.url), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = append([]string{"--config", file, "--settle", "0s"}, args...)
	if err := s.Serve(t.Context(), s.args...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// get runs a program of ours as somebody with those settings and nothing else
// of keyrot's, and returns what it printed.
func (s *identified) get(env []string, program string, args ...string) (p Pair, err error) {
	var out, talk bytes.Buffer
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.Bin, program), args...)
	cmd.Env = append(append(os.Environ(), s.Env...), append(env, "KEYROT_ENDPOINT="+s.server.URL, "KEYROT_CACHE_DIR="+filepath.Join(s.Dir, "cache"), "XDG_CONFIG_HOME="+s.Dir)...)
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		return p, fmt.Errorf("%w\n%s", err, talk.Bytes())
	}
	return p, json.Unmarshal(out.Bytes(), &p)
}

// asks holds an answer against what is wanted: a pair that works, or a refusal
// that says why.
func (s *identified) asks(what string, env []string, refusal, program string, args ...string) {
	s.t.Helper()
	p, err := s.given(func(context.Context) (Pair, error) { return s.get(env, program, args...) }, s.call)
	switch {
	case refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)):
		s.t.Errorf("%s: %s, %v, want a refusal with %q", what, p.AccessKeyId, err, refusal)
	case refusal == "" && (err != nil || p.UserName != "app"):
		s.t.Errorf("%s: the key of %q: %v, want one of app's that works", what, p.UserName, err)
	}
}

// audited reports whether a hand-out to the caller is on record.
func (s *identified) audited(caller string) {
	s.t.Helper()
	log, err := os.ReadFile(filepath.Join(s.Dir, "audit.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Contains(log, []byte(`"`+caller+`"`)) {
		s.t.Errorf("no hand-out to %s is on record", caller)
	}
	for _, secret := range []string{s.caller.SecretAccessKey, "X-Amz-Signature", "eyJ"} {
		daemon, err := os.ReadFile(filepath.Join(s.Dir, "serve.log"))
		if err != nil {
			s.t.Fatal(err)
		}
		if bytes.Contains(log, []byte(secret)) || bytes.Contains(daemon, []byte(secret)) {
			s.t.Errorf("a log holds %q", secret)
		}
	}
}

const notAccepted = "missing or not accepted"

// TestAWSIdentity: the key of an IAM user is all that a caller has, and
// versitygw's STS says whose it is.
func TestAWSIdentity(t *testing.T) {
	t.Parallel()
	s := newIdentified(t)
	env := []string{"AWS_ACCESS_KEY_ID=" + s.caller.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + s.caller.SecretAccessKey, "KEYROT_IDENTITY=aws"}
	s.asks("the caller", env, "", "keyrot", "get-key", "--user", "app")
	s.audited("aws:arn:aws:iam::000000000000:user/caller")
	s.asks("the caller, from its cache", append(env, "AWS_ENDPOINT_URL_STS=http://127.0.0.1:1"), "", "keyrot", "get-key", "--user", "app")
	s.asks("another user's key", env, "may not read this user", "keyrot", "get-key", "--user", "batch")
	s.asks("signed for another server", env, notAccepted, "keyrot", "get-key", "--user", "app", "--no-cache", "--sign-for", "other.example")
	s.asks("another secret", append(env, "AWS_SECRET_ACCESS_KEY=wrong"), notAccepted, "keyrot", "get-key", "--user", "app", "--no-cache")
	s.asks("another region", append(env, "AWS_REGION=eu-west-1"), notAccepted, "keyrot", "get-key", "--user", "app", "--no-cache")
	root := []string{"KEYROT_IDENTITY=aws"} // the daemon's own credentials, which no identity has
	s.asks("the root user", root, notAccepted, "keyrot", "get-key", "--user", "app", "--no-cache")
	s.asks("nobody", nil, "no API key is given", "keyrot", "get-key", "--user", "app", "--no-cache")

	profile := filepath.Join(s.Dir, "aws.config")
	line := "[profile loop]\ncredential_process = " + filepath.Join(s.Bin, "keyrot") + " get-key --user app --identity aws --no-cache --format credential-process\n"
	if err := os.WriteFile(profile, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	loop := []string{"KEYROT_IDENTITY=aws", "AWS_CONFIG_FILE=" + profile, "AWS_PROFILE=loop", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}
	s.asks("a profile that asks itself", loop, "are asked of keyrot itself", "keyrot", "get-key", "--user", "app", "--no-cache")

	out := s.exec(env, "exec", "--user", "app", "--", "sh", "-c", "echo ok $AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if !strings.HasPrefix(out, "ok http://127.0.0.1:") {
		t.Errorf("exec by AWS identity printed %q", out)
	}
	s.removed(func(ctx context.Context) (string, string, error) {
		return awsidentity.Signer{
			Credentials: config("", s.caller).Credentials, Region: Region, ServerID: "127.0.0.1", Endpoint: s.stsURL(),
		}.Proof(ctx, time.Now())
	})
	_, err := s.admin.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: aws.String("caller"), AccessKeyId: &s.caller.AccessKeyID, Status: "Inactive"})
	if err != nil {
		t.Fatal(err)
	}
	s.asks("an inactive key", env, notAccepted, "keyrot", "get-key", "--user", "app", "--no-cache")
}

// TestClientClock: the clock of a client's machine is not AWS's. It is let in all
// the same, and what it has cached is not handed out once AWS's clock has passed
// its Expiration.
func TestClientClock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, behind := range []time.Duration{time.Minute, -time.Minute, 10 * time.Minute, -10 * time.Minute, day, -day} {
		t.Run("behind by "+behind.String(), func(t *testing.T) {
			t.Parallel()
			on, skew := onSkewed(t)
			skew.Shift(behind)
			s := identifiedOn(t, on, skew.Know, slowSchedule[:6]...)
			env := []string{"AWS_ACCESS_KEY_ID=" + s.caller.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + s.caller.SecretAccessKey, "KEYROT_IDENTITY=aws"}
			s.asks("get-key", env, "", "keyrot", "get-key", "--user", "app")
			s.asks("get-key, with a cache", env, "", "keyrot", "get-key", "--user", "app")
			if out := s.exec(env, "exec", "--user", "app", "--", "sh", "-c", "echo ok"); out != "ok\n" {
				t.Errorf("exec printed %q", out)
			}
			p, err := s.get(env, "keyrot", "get-key", "--user", "app")
			if err != nil {
				t.Fatal(err)
			}
			s.Stop()
			for skew.Now().Before(p.Expiration.Add(time.Second)) {
				time.Sleep(100 * time.Millisecond)
			}
			if late, err := s.get(env, "keyrot", "get-key", "--user", "app"); err == nil {
				t.Errorf("at %s by AWS's clock, without a server: get-key printed a key that is good until %s", skew.Now().UTC(), late.Expiration)
			}
		})
	}
}

// TestOIDCIdentity: a token file is all that a caller has.
func TestOIDCIdentity(t *testing.T) {
	t.Parallel()
	s := newIdentified(t)
	file := filepath.Join(s.Dir, "token")
	env := []string{"KEYROT_OIDC_TOKEN_FILE=" + file}
	const sub = "repo:org/app:ref:refs/heads/main"
	s.issuer.token(t, file, sub, "keyrot", time.Hour)
	s.asks("keyrot-get", env, "", "keyrot-get", "--user", "app")
	s.audited("oidc:ci:" + sub)
	s.asks("keyrot, from the cache of keyrot-get", append(env, "KEYROT_IDENTITY=oidc"), "", "keyrot", "get-key", "--user", "app")
	s.asks("another user's key", env, "may not read this user", "keyrot-get", "--user", "batch")
	s.removed(func(context.Context) (string, string, error) {
		raw, err := os.ReadFile(file)
		return "Authorization", "Bearer " + string(raw), err
	})
	s.issuer.token(t, file, "repo:org/evil:ref:refs/heads/main", "keyrot", time.Hour)
	s.asks("another subject, read anew", env, notAccepted, "keyrot-get", "--user", "app")
	s.issuer.token(t, file, sub, "sts.amazonaws.com", time.Hour)
	s.asks("another audience", env, notAccepted, "keyrot-get", "--user", "app")
	s.issuer.token(t, file, sub, "keyrot", -time.Minute)
	s.asks("expired", env, notAccepted, "keyrot", "get-key", "--user", "app")
	s.issuer.token(t, file, sub, "keyrot", time.Hour)
	s.asks("a good one again", env, "", "keyrot", "get-key", "--user", "app")
	newIssuer(t).token(t, file, sub, "keyrot", time.Hour) // the same claims and kid
	s.asks("another issuer's key", env, notAccepted, "keyrot-get", "--user", "app")
}

// removed gets a token, sees it work, takes the identities out of the
// configuration and sees it refused at once. The daemon has them again after.
func (s *identified) removed(proof func(context.Context) (string, string, error)) {
	s.t.Helper()
	ctx := s.t.Context()
	header, value, err := proof(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	ask := func(method, path, header, value string) (int, []byte) {
		req, err := http.NewRequestWithContext(ctx, method, s.server.URL+path, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header.Set(header, value)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		defer res.Body.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(res.Body)
		return res.StatusCode, b.Bytes()
	}
	status, body := ask(http.MethodPost, api.PathToken, header, value)
	var tok api.Token
	if err := json.Unmarshal(body, &tok); err != nil || status != http.StatusOK {
		s.t.Fatalf("POST /generate-token = %d %s", status, body)
	}
	const path = api.PathActiveKey + "?username=app"
	if status, body := ask(http.MethodGet, path, "Authorization", "Bearer "+tok.Token); status != http.StatusOK {
		s.t.Errorf("GET /active-key with the token alone = %d %s", status, body)
	}
	s.Stop()
	if err := s.Serve(ctx, "--settle", "0s"); err != nil {
		s.t.Fatal(err)
	}
	if status, body := ask(http.MethodGet, path, "Authorization", "Bearer "+tok.Token); status != http.StatusForbidden {
		s.t.Errorf("GET /active-key after the identity was removed = %d %s, want 403", status, body)
	}
	s.Stop()
	if err := s.Serve(ctx, s.args...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *identified) exec(env []string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.Bin, "keyrot"), args...)
	cmd.Env = append(append(os.Environ(), s.Env...), append(env, "KEYROT_ENDPOINT="+s.server.URL, "XDG_CONFIG_HOME="+s.Dir)...)
	out, err := cmd.Output()
	if err != nil {
		s.t.Errorf("keyrot %v: %v", args, err)
	}
	return string(out)
}

// stsURL is where the daemon asks STS.
func (s *identified) stsURL() string {
	for _, kv := range s.Env {
		if url, ok := strings.CutPrefix(kv, "AWS_ENDPOINT_URL_STS="); ok {
			return url
		}
	}
	return ""
}
