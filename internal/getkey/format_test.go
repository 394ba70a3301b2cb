package getkey_test

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/pkg/api"
)

const awsSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestFormats(t *testing.T) {
	t.Parallel()
	plain := api.Credential{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: awsSecret, UserName: "ci", CreateDate: t0, Expiration: t0.Add(12 * time.Minute)}
	odd := plain
	odd.SecretAccessKey = "a'b $c;d\u2019"
	for _, tc := range []struct {
		name, format string
		cred         api.Credential
		want         string
	}{
		{"credential-process always tells the Expiration", "credential-process", plain, "{\n  \"Version\": 1,\n  \"AccessKeyId\": \"AKIAIOSFODNN7EXAMPLE\",\n  \"SecretAccessKey\": \"" + awsSecret + "\",\n  \"Expiration\": \"2026-03-01T12:12:00Z\"\n}\n"},
		{"env quotes for a shell", "env", odd, "export AWS_ACCESS_KEY_ID='AKIAIOSFODNN7EXAMPLE'\nexport AWS_SECRET_ACCESS_KEY='a'\\''b $c;d\u2019'\nexport AWS_CREDENTIAL_EXPIRATION='2026-03-01T12:12:00Z'\nunset AWS_SESSION_TOKEN\n"},
		{"dotenv leaves IAM's keys bare", "dotenv", plain, "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\nAWS_SECRET_ACCESS_KEY=" + awsSecret + "\nAWS_CREDENTIAL_EXPIRATION=2026-03-01T12:12:00Z\n"},
		{"powershell doubles every quote that it knows", "powershell", odd, "$Env:AWS_ACCESS_KEY_ID = 'AKIAIOSFODNN7EXAMPLE'\n$Env:AWS_SECRET_ACCESS_KEY = 'a''b $c;d\u2019\u2019'\n$Env:AWS_CREDENTIAL_EXPIRATION = '2026-03-01T12:12:00Z'\nRemove-Item Env:AWS_SESSION_TOKEN -ErrorAction Ignore\n"},
		{"ini is a section", "ini", plain, "[ci]\n# until 2026-03-01T12:12:00Z\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = " + awsSecret + "\n"},
		{"json is the server's answer", "json", plain, "{\n  \"AccessKeyId\": \"AKIAIOSFODNN7EXAMPLE\",\n  \"SecretAccessKey\": \"" + awsSecret + "\",\n  \"Expiration\": \"2026-03-01T12:12:00Z\",\n  \"CreateDate\": \"2026-03-01T12:00:00Z\",\n  \"UserName\": \"ci\"\n}\n"},
	} {
		var b bytes.Buffer
		if err := getkey.Write(&b, tc.format, "", tc.cred); err != nil {
			t.Errorf("%s: Write = %v", tc.name, err)
		}
		if diff := cmp.Diff(tc.want, b.String()); diff != "" {
			t.Errorf("%s: Write (-want +got):\n%s", tc.name, diff)
		}
	}
	if err := getkey.Write(new(bytes.Buffer), "dotenv", "", odd); err == nil {
		t.Error("Write(dotenv) of a value with a single quote succeeded, want an error")
	}
	odd.SecretAccessKey = "a\nb"
	for _, format := range []string{"env", "ini", "dotenv", "powershell", "ses-smtp"} {
		if err := getkey.Write(new(bytes.Buffer), format, "eu-west-1", odd); err == nil || strings.Contains(err.Error(), "a\nb") {
			t.Errorf("Write(%s) of a secret with a newline = %v, want an error without it", format, err)
		}
	}
}

// The vectors were computed with AWS's published example in Python.
func TestSESPasswords(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{
		"us-east-1": "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9",
		"us-west-2": "BF2PynzbSCAjX08zhZZnP/kW+T9P5zs/1Er0pi5vTEmd",
		"eu-west-1": "BMW5RDrXmmVs0lV7GpI4oLkHXpZ4stDsk6q91z1g38Pk",
	} {
		var b bytes.Buffer
		err := getkey.Write(&b, "ses-smtp", region, api.Credential{AccessKeyID: "A", SecretAccessKey: awsSecret, Expiration: t0})
		if err != nil || !strings.Contains(b.String(), `"Password": "`+want+`"`) || !strings.Contains(b.String(), "email-smtp."+region+".amazonaws.com") {
			t.Errorf("ses-smtp in %s = %v, want password %s:\n%s", region, err, want, b.String())
		}
	}
	for _, region := range []string{"", "eu west", "evil.example/"} {
		if err := getkey.CheckFormat("ses-smtp", region); !errors.Is(err, getkey.ErrUsage) {
			t.Errorf("CheckFormat(ses-smtp, %q) = %v, want ErrUsage", region, err)
		}
	}
}

// A real shell reads what was written, whatever is in it.
func TestEnvInAShell(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Log("no shell here")
		return
	}
	secret := "'; echo hacked; $(echo x) `echo y` \\ \" '"
	var b bytes.Buffer
	if err := getkey.Write(&b, "env", "", api.Credential{AccessKeyID: "A", SecretAccessKey: secret, Expiration: t0}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), sh, "-c", b.String()+`printf %s "$AWS_SECRET_ACCESS_KEY"`).Output()
	if err != nil || string(out) != secret {
		t.Errorf("a shell reads %q, %v, want %q", out, err, secret)
	}
}
