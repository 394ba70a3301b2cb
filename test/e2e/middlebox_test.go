//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// middlebox stands between keyrot and AWS: some actions it answers itself,
// with status 200.
type middlebox struct {
	*httptest.Server
	mu      sync.Mutex
	actions map[string]bool
	every   int // nth call only
	calls   int
	body    string
}

func newMiddlebox(t *testing.T, server string) *middlebox {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	m, proxy := &middlebox{}, httputil.NewSingleHostReverseProxy(to)
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // the program was stopped
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		_, action := Action(req, string(body))
		if page, mine := m.answers(action); mine {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, page)
			return
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(m.Close)
	return m
}

// Answer has every nth call of the actions answered with the body.
func (m *middlebox) Answer(body string, every int, actions ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.body, m.every, m.calls, m.actions = body, every, 0, map[string]bool{}
	for _, a := range actions {
		m.actions[a] = true
	}
}

func (m *middlebox) answers(action string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.actions[action] {
		return "", false
	}
	m.calls++
	return m.body, m.calls%m.every == 0
}

// TestMiddlebox: what something between keyrot and AWS answers in AWS's place,
// with status 200, is believed by nobody. "burn" does not say that a key is
// inactive that is active, and the audit log in the table has no hole.
func TestMiddlebox(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := newCloudScene(t)
	toIAM, toTable := newMiddlebox(t, c.iamURL), newMiddlebox(t, envOf(c.env, "AWS_ENDPOINT_URL_DYNAMODB"))
	folder, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	k := &Keyrot{Bin: folder, Dir: c.dir, Env: append(c.env,
		"AWS_ENDPOINT_URL_IAM="+toIAM.URL, "AWS_ENDPOINT_URL_STS="+toIAM.URL, "AWS_ENDPOINT_URL_DYNAMODB="+toTable.URL)}
	if _, err := k.Run(ctx, "rotate-once"); err != nil {
		t.Fatal(err)
	}
	for user, body := range map[string]string{
		"ann": "<html><body>Please sign in</body></html>", "bob": "",
		"cyd": "<TagUserResponse><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></TagUserResponse>", // of another call
	} {
		key := activeKey(t, c.admin, user)
		toIAM.Answer(body, 1, "UpdateAccessKey")
		_, err := k.Run(ctx, "burn", user, "--key", key, "--wait", "3s")
		if err == nil || !strings.Contains(c.ids(user), key+":Active") {
			t.Errorf("burn, answered with %q = %v, keys %s, want an error and the key active", body, err, c.ids(user))
		}
		toIAM.Answer("", 1)
		_, err = k.Run(ctx, "burn", user, "--key", key)
		if err != nil || strings.Contains(c.ids(user), key+":Active") {
			t.Errorf("burn after it = %v, keys %s", err, c.ids(user))
		}
		for every := 2; every < 8; every++ {
			toTable.Answer(body, every, "PutItem")
			_, _ = k.Run(ctx, "rotate-once", "--force", "--wait", "1s") // may fail
		}
		toTable.Answer("", 1)
		if out, err := k.Run(ctx, "audit", "verify"); err != nil {
			t.Errorf("audit verify after answers of %q = %s, %v", body, out, err)
		}
	}
	if _, err := k.Run(ctx, "rotate-once", "--force"); err != nil {
		t.Error("a pass after it:", err)
	}
}

func envOf(env []string, name string) string {
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

func activeKey(t *testing.T, admin *iam.Client, user string) string {
	t.Helper()
	out, err := admin.ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{UserName: &user})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range out.AccessKeyMetadata {
		if k.Status == iamtypes.StatusTypeActive {
			return aws.ToString(k.AccessKeyId)
		}
	}
	t.Fatalf("%s has no active key", user)
	return ""
}
