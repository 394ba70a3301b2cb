package local_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/local"
	"github.com/keyrot/keyrot/internal/getkey/quick"
	"github.com/keyrot/keyrot/pkg/api"
)

func serve(t *testing.T, credential func(string) (api.Credential, error)) (socket string, stop func() error) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- local.Serve(ctx, ln, credential) }()
	stop = func() error { cancel(); err := <-done; done <- nil; return err }
	t.Cleanup(func() { _ = stop() })
	return socket, stop
}

func question(user, format, region string) string {
	return string(quick.Question(user, format, region))
}

func exchange(t *testing.T, socket, request string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, request) // who says too much is cut off
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

func TestServe(t *testing.T) {
	t.Parallel()
	want := api.Credential{AccessKeyID: "AKIAX", SecretAccessKey: "verysecret", UserName: "ci", Expiration: time.Now().Add(time.Hour).UTC().Round(0)}
	socket, stop := serve(t, func(user string) (api.Credential, error) {
		switch user {
		case "ci", "bob":
			return want, nil // to bob it is another's
		case "none":
			return api.Credential{UserName: "none"}, nil
		}
		return api.Credential{}, api.ErrUnknownUser
	})
	idle, err := (&net.Dialer{}).DialContext(t.Context(), "unix", socket) // holds nobody up
	if err != nil {
		t.Fatal(err)
	}
	for request, says := range map[string]string{
		question("ci", "json", ""):                "AKIAX",
		question("ci", "credential-process", ""):  "AKIAX",
		question("ci", "ini", "eu-west-1"):        "AKIAX",
		question("ci", "ses-smtp", "eu-west-1"):   "AKIAX",
		question("ci", "ses-smtp", ""):            "needs --region",
		question("ci", "xml", ""):                 "not one of",
		question("eve", "json", ""):               api.ErrUnknownUser.Error(),
		question("bob", "json", ""):               "no credential",
		question("none", "json", ""):              "no credential",
		question("ci", "", ""):                    "want",
		question("ci", "json", "a b"):             "want",
		"GET /active-key?username=ci HTTP/1.1\n":  "want",
		quick.Asking + strings.Repeat("x", 1<<20): "",
	} {
		got := exchange(t, socket, request)
		if !strings.Contains(got, says) || strings.Contains(got, "AKIAX") != (says == "AKIAX") || says == "" && got != "" {
			t.Errorf("%.60q is answered %q, want %q", request, got, says)
		}
	}
	if text, ok := quick.Ask(socket, "ci", "json", ""); ok {
		t.Errorf("a socket that others may use answered %q", text)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	if err := getkey.Write(&printed, "env", "", want); err != nil {
		t.Fatal(err)
	}
	if text, ok := quick.Ask(socket, "ci", "env", ""); !ok || text != printed.String() {
		t.Errorf("Ask = %q, %v, want %q", text, ok, printed.String())
	}
	_ = idle.Close()
	if err := stop(); err != nil {
		t.Errorf("Serve = %v at a requested end", err)
	}
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "unix", socket); err == nil {
		t.Error("it still listens")
	}
}

func TestListenerThatFails(t *testing.T) {
	t.Parallel()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := local.Serve(t.Context(), ln, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed listener = %v", err)
	}
}
