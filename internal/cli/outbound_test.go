package cli

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/webhook"
	"github.com/keyrot/keyrot/pkg/notify"
	"github.com/keyrot/keyrot/pkg/publish"
	"github.com/keyrot/keyrot/pkg/rotate"
)

func outboundConfig(t *testing.T, yaml string) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keyrot.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Source{File: file, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestPublishersOfAConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 40)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := outboundConfig(t, `
publish:
- {type: secretsmanager, secrets: ["${USER}/a", "${USER}/b"]}
- {type: ssm, parameter: "/keys/${USER}", optional: true}
- {type: file, name: ini, path: "/run/${USER}", mode: "0640"}
- {type: file, name: one, path: /run/ci, users: [ci], text: "${ACCESS_KEY_ID}"}
- {type: hook, command: [/bin/true], timeout: 5s}
- {type: webhook, url: "https://example.com/x", key_file: `+key+`, optional: true}
`)
	if err := cfg.Validate(); err != nil {
		t.Fatalf("Validate() = %v", err)
	}
	required, optional, err := publishers(cfg, aws.Config{}, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("publishers() = %v", err)
	}
	if len(required) != 4 || len(optional) != 2 || required[1].Name() != "ini" || optional[0].Name() != "ssm" {
		t.Errorf("publishers() = %v, %v", required, optional)
	}
}

func TestTargetsThatCannotWork(t *testing.T) {
	t.Parallel()
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, []byte(strings.Repeat("k", 40)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, yaml, want string }{
		{"one secret every 10 min", `publish: [{type: secretsmanager, secrets: ["${USER}"]}]`, "publish[0].secrets: rotating every 10m0s is too fast"},
		{"one secret, a faster override", "rotate_every: 1h\noverrides: [{name: ci, rotate_every: 5m}]\npublish: [{type: secretsmanager, secrets: [\"${USER}\"]}]", "rotating every 5m0s"},
		{"one secret for several users", "rotate_every: 1h\npublish: [{type: secretsmanager, secrets: [shared]}]", "lacks ${USER}"},
		{"a mode that is not octal", `publish: [{type: file, path: "/run/${USER}", mode: rw}]`, "publish[0].mode"},
		{"a file for everybody", `publish: [{type: file, path: "/run/${USER}", mode: "0644"}]`, "opens the file"},
		{"a webhook in the clear", `publish: [{type: webhook, url: "http://example.com", key_file: ` + open + `}]`, "publish[0].url: is not https"},
		{"a key that others can read", `publish: [{type: webhook, url: "https://example.com", key_file: ` + open + `}]`, "can be read or changed by others"},
		{"an unknown type", `publish: [{type: vault}]`, "publish[0].type"},
		{"two of one name", `publish: [{type: ssm, parameter: "${USER}"}, {type: ssm, parameter: "x${USER}"}]`, "taken by another"},
		{"a pattern that is none", `publish: [{type: ssm, parameter: "${USER}", users: ["["]}]`, "malformed pattern"},
		{"a hook without a program", `publish: [{type: hook}]`, "publish[0].command: is missing"},
		{"mails to nobody", `notify: {ses: {from: a@example.com}}`, "give both or none"},
		{"mail in the clear", `notify: {smtp: {host: mail.example.com, tls: none, from: a@example.com, to: [b@example.com]}}`, "this machine only"},
		{"mail from nowhere", `notify: {smtp: {host: mail.example.com, to: [b@example.com]}}`, "from:"},
		{"a topic's name", `notify: {sns: {topic: ops}}`, "notify.sns.topic"},
		{"a weekly digest", `notify: {digest: weekly}`, "notify.digest"},
	} {
		cfg := outboundConfig(t, tt.yaml)
		err := cfg.Validate()
		if err == nil {
			_, _, err = publishers(cfg, aws.Config{}, time.Now, slog.New(slog.DiscardHandler))
		}
		if err == nil {
			_, err = notifier(cfg.Notify, aws.Config{}, nil, time.Now, slog.New(slog.DiscardHandler))
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want it to hold %q", tt.name, err, tt.want)
		}
	}
}

func TestChannelsOfAConfiguration(t *testing.T) {
	t.Parallel()
	hook := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(hook, []byte("https://hooks.example.com/T/B/x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := outboundConfig(t, `
notify:
  digest: hourly
  ses: {from: a@example.com, to: [b@example.com]}
  smtp: {host: mail.example.com, from: a@example.com, to: [b@example.com]}
  sns: {topic: "arn:aws:sns:eu-west-1:123456789012:ops"}
  slack: {url_file: `+hook+`}
`)
	n, err := notifier(cfg.Notify, aws.Config{}, nil, time.Now, slog.New(slog.DiscardHandler))
	if err != nil || n == nil || len(n.Channels) != 4 {
		t.Fatalf("notifier() = %+v, %v, want four channels", n, err)
	}
	if n, err := notifier(outboundConfig(t, "").Notify, aws.Config{}, nil, time.Now, slog.New(slog.DiscardHandler)); n != nil || err != nil {
		t.Errorf("notifier() without channels = %v, %v, want none", n, err)
	}
}

func TestEachRecipientIsAChannel(t *testing.T) {
	t.Parallel()
	cfg := outboundConfig(t, `
notify:
  smtp: {host: localhost, tls: none, from: k@example.com, to: [a@example.com, b@example.com, a@example.com]}
  ses: {from: k@example.com, to: [a@example.com, c@example.com]}
`)
	n, err := notifier(cfg.Notify, aws.Config{}, nil, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range n.Channels {
		got = append(got, c.Name())
	}
	if want := []string{"ses:a@example.com", "ses:c@example.com", "smtp:a@example.com", "smtp:b@example.com"}; !slices.Equal(got, want) {
		t.Errorf("the channels are %q, want %q", got, want)
	}
}

// TestSecretsOfChannelsAreReadAgain: who rotates the Slack URL, the mail
// password or a webhook's key replaces a file.
func TestSecretsOfChannelsAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var hits []string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stamp := r.Header.Get(webhook.HeaderTimestamp)
		raw, _ := io.ReadAll(r.Body)
		for _, key := range []string{"a", "b"} {
			if k := strings.Repeat(key, publish.MinKey); r.Header.Get(webhook.HeaderSignature) == webhook.Sign([]byte(k), stamp, raw) {
				hits = append(hits, "key "+key)
			}
		}
		hits = append(hits, r.URL.Path)
	}))
	t.Cleanup(srv.Close)
	write("slack", srv.URL+"/slack1\n")
	write("password", "one\n")
	write("key", strings.Repeat("a", publish.MinKey))
	cfg := outboundConfig(t, `
notify:
  smtp: {host: localhost, tls: none, username: u, password_file: `+filepath.Join(dir, "password")+`, from: k@example.com, to: [a@example.com]}
  slack: {url_file: `+filepath.Join(dir, "slack")+`}
publish:
- {type: webhook, url: "`+srv.URL+`/hook", key_file: `+filepath.Join(dir, "key")+`}
`)
	log := slog.New(slog.DiscardHandler)
	n, err := notifier(cfg.Notify, aws.Config{}, nil, time.Now, log)
	if err != nil {
		t.Fatal(err)
	}
	hooks, _, err := publishers(cfg, aws.Config{}, time.Now, log)
	if err != nil {
		t.Fatal(err)
	}
	mails, ok := n.Channels[0].(*notify.SMTP)
	if !ok {
		t.Fatalf("the first channel is %T", n.Channels[0])
	}
	use := func(password string) {
		t.Helper()
		if got, err := mails.Password(); got.Reveal() != password || err != nil {
			t.Errorf("the mail's password = %q, %v, want %q", got.Reveal(), err, password)
		}
		err := n.Channels[1].Send(t.Context(), notify.Message{})
		if perr := hooks[0].Publish(t.Context(), rotate.Credential{User: "ci", KeyID: "AKIA", Secret: rotate.NewSecret("s")}); err != nil || perr != nil {
			t.Error(err, perr)
		}
	}
	use("one")
	write("slack", srv.URL+"/slack2\n")
	write("password", "two\n")
	write("key", strings.Repeat("b", publish.MinKey))
	use("two")
	write("slack", "not a URL")
	write("password", "")
	write("key", "short")
	use("two")
	want := []string{"/slack1", "key a", "/hook", "/slack2", "key b", "/hook", "/slack2", "key b", "/hook"}
	if !slices.Equal(hits, want) {
		t.Errorf("requests were %q, want %q", hits, want)
	}
}
