package quick

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestArgs(t *testing.T) {
	t.Parallel()
	if got := args(); !slices.Equal(got, os.Args) {
		t.Errorf("args = %q, want %q", got, os.Args)
	}
}

func TestThisProcessIsNotGetKey(t *testing.T) {
	t.Parallel()
	Begin()
	if Begun() != nil || Asked() {
		t.Errorf("Begun = %+v, Asked = %v, want neither", Begun(), Asked())
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"HOME": t.TempDir(), "KEYROT_ENDPOINT": "https://k", "KEYROT_IDENTITY": "oidc", "AWS_DEFAULT_REGION": "eu-west-2"}
	getenv := func(name string) string { return vars[name] }
	want := Request{User: "ci", Format: "credential-process", Region: "eu-west-1", Endpoint: "https://k", APIKeyFile: "f", CAFile: "c", Identity: "oidc", NoCache: true}
	for _, args := range [][]string{
		{"/usr/bin/keyrot-get", "--user", "ci", "--format=credential-process", "--no-cache", "--api-key-file", "f", "--ca-file=c", "--region", "eu-west-1"},
		{"keyrot-get.exe", "--no-cache", "--ca-file", "c", "--api-key-file=f", "--user=x", "--user=ci", "--format", "credential-process", "--region=eu-west-1"},
		{"keyrot", "get-key", "--user", "ci", "--format=credential-process", "--no-cache", "--api-key-file", "f", "--ca-file=c", "--region", "eu-west-1"},
	} {
		got, ok := parse(args, getenv)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Request{}, "Getenv")); !ok || diff != "" {
			t.Errorf("parse(%q) = %v (-want +got):\n%s", args, ok, diff)
		}
	}
	if r, ok := parse([]string{"keyrot-get", "--user", "ci"}, func(string) string { return "" }); !ok || r.Format != "json" || r.Endpoint != Endpoint || r.Region != "" {
		t.Errorf("parse without variables = %+v, %v", r, ok)
	}
	for _, args := range [][]string{
		nil,
		{"keyrot-get"},
		{"keyrot-get", "--help"},
		{"keyrot-get", "--user"},
		{"keyrot-get", "--user", "a b"},
		{"keyrot-get", "--user=ci", "--format="},
		{"keyrot-get", "--user", "ci", "extra"},
		{"keyrot-get", "--user", "ci", "--", "extra"},
		{"keyrot-get", "-user", "ci"},
		{"keyrot-get", "--user", "ci", "--no-cache=false"},
		{"keyrot-get", "--user", "ci", "--write-profile", "x"},
		{"keyrot", "get-key", "--user", "ci", "-o", "json"},
		{"keyrot", "get-key", "--user", "ci", "--config", "x"},
		{"keyrot", "--config", "x", "get-key", "--user", "ci"},
		{"keyrot", "status"},
		{"keyrot-get", "--user", "ci", "--api-key-file", "/dev/fd/63"},
		{"keyrot-getx", "--user", "ci"},
	} {
		if r, ok := parse(args, getenv); ok {
			t.Errorf("parse(%q) = %+v, want it left to the command", args, r)
		}
	}
}

func TestAConfigurationFileIsTheCommands(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	getenv := func(name string) string {
		if name == "HOME" {
			return home
		}
		return ""
	}
	args := []string{"keyrot", "get-key", "--user", "ci"}
	if _, ok := parse(args, getenv); !ok {
		t.Error("without a file: left to the command")
	}
	dir := filepath.Join(home, ".config", "keyrot")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keyrot.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := parse(args, getenv); ok {
		t.Error("with a file: not left to the command")
	}
	if _, ok := parse([]string{"keyrot-get", "--user", "ci"}, getenv); !ok {
		t.Error("keyrot-get reads no file, but is left to the command")
	}
}
