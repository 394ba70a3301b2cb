package publish_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/sessmtp"
	"github.com/keyrot/keyrot/internal/webhook"
	"github.com/keyrot/keyrot/pkg/publish"
	"github.com/keyrot/keyrot/pkg/rotate"
)

func TestFileIsReplacedAsAWhole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		format, text, want string
	}{
		{"", "", "[default]\naws_access_key_id = AKIA1\naws_secret_access_key = " + secretText + "AKIA1\n"},
		{"env", "", "AWS_ACCESS_KEY_ID=AKIA1\nAWS_SECRET_ACCESS_KEY=" + secretText + "AKIA1\n"},
		{"json", "", `{"access_key_id":"AKIA1","secret_access_key":"` + secretText + `AKIA1","expiration":"2026-11-01T12:12:00Z"}` + "\n"},
		{"", "$$ ${USER} ${ACCESS_KEY_ID} ${CREATED}", "$ ci AKIA1 2026-11-01T12:00:00Z"},
		{"", "${CREATED_URL} ${SECRET_ACCESS_KEY_URL}", "2026-11-01T12%3A00%3A00Z " + url.QueryEscape(secretText+"AKIA1")},
		{"", "${SES_SMTP_USERNAME} ${SES_SMTP_PASSWORD}", "AKIA1 " + sessmtp.Password(secretText+"AKIA1", "eu-west-1")},
		{"", "${SES_SMTP_PASSWORD_URL}", url.QueryEscape(sessmtp.Password(secretText+"AKIA1", "eu-west-1"))},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "ci.cred")
		f := &publish.File{Path: filepath.Join(dir, "${USER}.cred"), Format: tt.format, Text: tt.text, Region: "eu-west-1", Mode: 0o640}
		if err := f.Check(); err != nil {
			t.Fatalf("Check() = %v", err)
		}
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		var infos []fs.FileInfo
		for range 2 {
			if err := f.Publish(t.Context(), pair("AKIA1")); err != nil {
				t.Fatalf("Publish() = %v", err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			infos = append(infos, info)
		}
		if got, _ := os.ReadFile(path); string(got) != tt.want {
			t.Errorf("file = %q, want %q", got, tt.want)
		}
		if m := infos[0].Mode().Perm(); m != 0o640 {
			t.Errorf("mode = %04o, want 0640", m)
		}
		if !os.SameFile(infos[0], infos[1]) {
			t.Error("the second publication replaced the file, want it left alone")
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".keyrot-*")); len(left) != 0 {
			t.Errorf("left behind %v", left)
		}
	}
}

// A crash before the rename leaves the old file whole; one after it, the new.
func TestFileSurvivesACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &publish.File{Path: filepath.Join(dir, "cred"), Format: "env"}
	if err := os.WriteFile(filepath.Join(dir, ".keyrot-123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Publish(t.Context(), pair("AKIA1")); err != nil {
			t.Fatalf("Publish() = %v", err)
		}
	}
	if err := f.Publish(t.Context(), pair("AKIA2")); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(f.Path); !strings.Contains(string(got), "ID=AKIA2\n") {
		t.Errorf("file = %q, want the new pair", got)
	}
}

// Who has the file by another name would not see one in its place.
func TestFileInPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := func(string) bool { return true }
	f := &publish.File{Path: filepath.Join(dir, "a[b]${USER}", "${USER}.env"), Format: "env", InPlace: true}
	if err := os.Mkdir(filepath.Join(dir, "a[b]ci"), 0o700); err != nil {
		t.Fatal(err)
	}
	here, there := filepath.Join(dir, "a[b]ci", "ci.env"), filepath.Join(dir, "there")
	if err := f.Publish(t.Context(), pair("AKIA1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(here, there); err != nil {
		t.Fatal(err)
	}
	replaced := *f
	replaced.InPlace = false
	for what, err := range map[string]error{
		"Publish of a new pair":  replaced.Publish(t.Context(), pair("AKIA2")),
		"Publish of the old one": replaced.Publish(t.Context(), pair("AKIA1")),
		"Held":                   replaced.Held(all),
		"Reach":                  replaced.Reach(t.Context(), "ci"),
	} {
		if err == nil || !strings.Contains(err.Error(), "2 names") || !strings.Contains(err.Error(), "in_place: true") {
			t.Errorf("%s = %v, want a refusal that names in_place", what, err)
		}
	}
	for range 2 {
		if err := f.Publish(t.Context(), pair("AKIA2")); err != nil {
			t.Errorf("in place: Publish = %v", err)
		}
	}
	if err := errors.Join(f.Held(all), f.Reach(t.Context(), "ci")); err != nil {
		t.Errorf("in place: %v", err)
	}
	if got, _ := os.ReadFile(there); !strings.Contains(string(got), "ID=AKIA2\n") {
		t.Errorf("its other name reads %q, want the new pair", got)
	}
	if err := replaced.Held(func(user string) bool { return user != "ci" }); err != nil {
		t.Errorf("Held without the user = %v", err)
	}
}

func TestFileRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file publish.File
		want string
	}{
		{publish.File{Path: "relative"}, "not absolute"},
		{publish.File{Path: "/a", Format: "toml"}, "not one of ini, env, json"},
		{publish.File{Path: "/a/${SECRET_ACCESS_KEY}"}, "unknown"},
		{publish.File{Path: "/a", Text: "${PASSWORD}"}, "${PASSWORD} is unknown"},
		{publish.File{Path: "/a", Text: "$ACCESS"}, "neither"},
		{publish.File{Path: "/a", Text: "x", Format: "ini"}, "give one"},
		{publish.File{Path: "/a", Mode: 0o644}, "everybody"},
		{publish.File{Path: "/a", Mode: 0o4600}, "more than permissions"},
	} {
		if err := tt.file.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Check(%+v) = %v, want %q", tt.file, err, tt.want)
		}
	}
	dir := t.TempDir()
	for name, c := range map[string]rotate.Credential{
		"a user above the folder": {User: "..", KeyID: "AKIA1", Secret: rotate.NewSecret("s")},
		"a secret with a quote":   {User: "ci", KeyID: "AKIA1", Secret: rotate.NewSecret("s\"\nx=1")},
	} {
		f := &publish.File{Path: dir + "/${USER}/x"}
		if err := f.Publish(t.Context(), c); err == nil || strings.Contains(err.Error(), "x=1") {
			t.Errorf("%s: Publish() = %v, want a refusal", name, err)
		}
	}
	f := &publish.File{Path: filepath.Join(dir, "x"), Owner: "no-such-user-here"}
	if err := f.Publish(t.Context(), pair("AKIA1")); err == nil {
		t.Error("Publish() for an unknown owner = nil, want an error")
	}
	if _, err := os.Stat(f.Path); err == nil {
		t.Error("the file was written for an unknown owner")
	}
}

func TestHookGetsThePairOnStandardInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := &publish.Hook{Argv: []string{"/bin/sh", "-c", `cat > "$1/$$.in"; env > "$1/env"; echo "$0 $*" > "$1/args"`, "hook", dir}}
	for range 2 {
		if err := h.Publish(t.Context(), pair("AKIA1")); err != nil {
			t.Fatalf("Publish() = %v", err)
		}
	}
	ins, _ := filepath.Glob(filepath.Join(dir, "*.in"))
	ids := map[string]bool{}
	for _, in := range ins {
		raw, _ := os.ReadFile(in)
		var m map[string]string
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		if m["access_key_id"] != "AKIA1" || m["secret_access_key"] != secretText+"AKIA1" || m["user"] != "ci" {
			t.Errorf("standard input = %v, want the pair", m)
		}
		ids[m["id"]] = true
	}
	if len(ins) != 2 || len(ids) != 1 {
		t.Errorf("%d runs with %d ids, want two runs with one", len(ins), len(ids))
	}
	for _, f := range []string{"env", "args"} {
		if raw, _ := os.ReadFile(filepath.Join(dir, f)); strings.Contains(string(raw), secretText) {
			t.Errorf("%s holds the secret", f)
		}
	}
}

func TestHookFailuresHoldNoSecret(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, script, want string
		timeout            time.Duration
	}{
		{"an exit code", "cat; cat >&2; exit 3", "exit status 3", 0},
		{"a hang with a child", "sleep 60 & sleep 60", "deadline", 50 * time.Millisecond},
	} {
		h := &publish.Hook{Argv: []string{"/bin/sh", "-c", tt.script}, Timeout: tt.timeout}
		err := h.Publish(t.Context(), pair("AKIA1"))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secretText) {
			t.Errorf("%s: Publish() = %v, want %q and no secret", tt.name, err, tt.want)
		}
	}
	if err := (&publish.Hook{}).Publish(t.Context(), pair("AKIA1")); err == nil {
		t.Error("Publish() without a program = nil, want an error")
	}
}

func TestWebhookIsSigned(t *testing.T) {
	t.Parallel()
	key := rotate.NewSecret(strings.Repeat("k", publish.MinKey))
	got := map[string]int{}
	lose := 2 // two answers are lost
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		stamp := r.Header.Get(webhook.HeaderTimestamp)
		if stamp != "1793534400" || r.Header.Get(webhook.HeaderSignature) != webhook.Sign([]byte(key.Reveal()), stamp, body) {
			t.Errorf("headers = %v, want timestamp and signature", r.Header)
		}
		if !strings.Contains(string(body), secretText) {
			t.Error("the body lacks the secret")
		}
		got[r.Header.Get(webhook.HeaderID)]++
		if lose--; lose >= 0 {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write(body)
		}
	}))
	defer srv.Close()
	w := &publish.Webhook{URL: srv.URL + "/token-in-path", Key: keyIs(key), Now: func() time.Time { return time.Unix(1793534400, 0) }}
	for i := range 3 {
		err := w.Publish(t.Context(), pair("AKIA1"))
		if (err == nil) != (i == 2) {
			t.Errorf("attempt %d: Publish() = %v", i, err)
		}
		if err != nil && (strings.Contains(err.Error(), secretText) || strings.Contains(err.Error(), "token-in-path")) {
			t.Errorf("the error tells too much: %v", err)
		}
	}
	if got[publish.ID("ci", "AKIA1")] != 3 || len(got) != 1 {
		t.Errorf("ids = %v, want one three times", got)
	}
}

func keyIs(s rotate.Secret) func() (rotate.Secret, error) {
	return func() (rotate.Secret, error) { return s, nil }
}

func TestWebhookRefuses(t *testing.T) {
	t.Parallel()
	var hits int
	end := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits++ }))
	defer end.Close()
	redirect := httptest.NewServer(http.RedirectHandler(end.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	key := keyIs(rotate.NewSecret(strings.Repeat("k", publish.MinKey)))
	for name, w := range map[string]publish.Webhook{
		"a redirect":             {URL: redirect.URL, Key: key},
		"http to another host":   {URL: "http://198.51.100.7/x", Key: key},
		"no URL":                 {URL: "", Key: key},
		"a short key":            {URL: end.URL, Key: keyIs(rotate.NewSecret("short"))},
		"nobody who is at home":  {URL: "http://127.0.0.1:1/secret-path", Key: key},
		"no key any more":        {URL: end.URL, Key: func() (rotate.Secret, error) { return rotate.Secret{}, errors.New("gone") }},
		"a file":                 {URL: "file:///etc/passwd", Key: key},
		"a host that looks like": {URL: "http://localhost.example/", Key: key},
	} {
		err := w.Publish(t.Context(), pair("AKIA1"))
		if err == nil || strings.Contains(err.Error(), "secret-path") {
			t.Errorf("%s: Publish() = %v, want an error without the URL", name, err)
		}
	}
	if hits != 0 {
		t.Errorf("the redirect was followed")
	}
}

// A page in the receiver's place, as of a log-in or a captive network, says
// nothing about the pair: the key before it must stay. Whatever else is said
// with a 2xx confirms, also where the type of the answer is left to a default.
func TestAPageConfirmsNothing(t *testing.T) {
	t.Parallel()
	for body, confirms := range map[string]bool{
		"": true, "ok": true, `{"ok":true}`: true, "<received/>": true,
		"<!DOCTYPE html><html><body>Please sign in</body></html>": false, "\n<html>\n": false, "<script>location='/login'</script>": false,
	} {
		for _, status := range []int{200, 202} {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}))
			w := &publish.Webhook{URL: srv.URL, Key: keyIs(rotate.NewSecret(strings.Repeat("k", publish.MinKey)))}
			if err := w.Publish(t.Context(), pair("AKIA1")); (err == nil) != confirms {
				t.Errorf("answered %d %q: Publish() = %v, want it to confirm: %t", status, body, err, confirms)
			}
			srv.Close()
		}
	}
}

func TestOnlySomeUsers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x")
	p := publish.Only{Users: []string{"app-*", "web"}, To: &publish.File{Path: path}}
	if err := p.Publish(t.Context(), pair("AKIA1")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a user outside was published")
	}
	c := pair("AKIA1")
	c.User = "app-1"
	if err := p.Publish(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("a user inside was not published")
	}
}

// Folders that somebody else can change would let him have the pair written, or
// a file's mode changed, wherever he likes.
func TestFoldersThatOthersChange(t *testing.T) {
	t.Parallel()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{filepath.Dir(top), top} { // within reach
		must(os.Chmod(d, 0o755))
	}
	must(os.Mkdir(top+"/etc", 0o700))
	must(os.Mkdir(top+"/open", 0o700))
	must(os.Chmod(top+"/open", 0o777))
	must(os.Symlink(top+"/etc", top+"/open/keys"))
	for _, path := range []string{"/open/keys/${USER}", "/open/${USER}", "/open/none/${USER}"} {
		f := &publish.File{Path: top + path}
		err := f.Publish(t.Context(), pair("AKIA1"))
		if err == nil || !strings.Contains(err.Error(), "can be changed by others") || strings.Contains(err.Error(), secretText) {
			t.Errorf("Publish to %s = %v, want a refusal", path, err)
		}
	}
	if left, _ := os.ReadDir(top + "/etc"); len(left) > 0 {
		t.Errorf("behind the link are %v, want nothing", left)
	}
	// A link in the file's place is replaced; what it leads to keeps its mode,
	// even if it holds the very pair.
	f := &publish.File{Path: top + "/etc/cred", Format: "env"}
	must(f.Publish(t.Context(), pair("AKIA1")))
	must(os.Rename(top+"/etc/cred", top+"/other"))
	must(os.Chmod(top+"/other", 0o640))
	must(os.Symlink(top+"/other", top+"/etc/cred"))
	must(f.Publish(t.Context(), pair("AKIA1")))
	if info, err := os.Lstat(top + "/etc/cred"); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the link is now %v, %v, want a file", info, err)
	}
	if info, err := os.Stat(top + "/other"); err != nil || info.Mode() != 0o640 {
		t.Errorf("what the link led to is %v, %v, want mode 0640", info, err)
	}
}
