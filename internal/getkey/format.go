package getkey

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/keyrot/keyrot/internal/getkey/entry"
	"github.com/keyrot/keyrot/internal/sessmtp"
	"github.com/keyrot/keyrot/pkg/api"
)

// Formats are the names of the formats, for messages.
const Formats = "json, credential-process, env, dotenv, powershell, ini, ses-smtp, ses-smtp-strings"

// CheckFormat reports what is wrong with a format, before anything is fetched.
func CheckFormat(format, forRegion string) error {
	if _, ok := formats[format]; !ok {
		return Usagef("--format: %q is not one of %s", format, Formats)
	}
	if strings.HasPrefix(format, "ses-smtp") && !sessmtp.IsRegion(forRegion) {
		return Usagef("--format %s needs --region or AWS_REGION, such as eu-west-1", format)
	}
	return nil
}

// Write prints the credential. forRegion matters to ses-smtp only.
func Write(w io.Writer, format, forRegion string, c api.Credential) error {
	if err := CheckFormat(format, forRegion); err != nil {
		return err
	}
	for _, s := range []string{c.AccessKeyID, c.SecretAccessKey, c.UserName} {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errors.New("the server's answer holds control characters")
		}
	}
	text, err := formats[format](c, forRegion)
	if err != nil {
		return err
	}
	return say(w, text)
}

var formats = map[string]func(c api.Credential, region string) (string, error){
	"json":               asJSON,
	"credential-process": process,
	"env":                env,
	"dotenv":             dotenv,
	"powershell":         powershell,
	"ini":                ini,
	"ses-smtp":           func(c api.Credential, region string) (string, error) { return sesSMTP(c, region, "587") },
	"ses-smtp-strings":   func(c api.Credential, region string) (string, error) { return sesSMTP(c, region, `"587"`) },
}

// object is a JSON object with its fields in order. The encoder is for what IAM's
// names and keys never hold: it takes its time to get going.
func object(fields ...entry.Field) string {
	text, ok := entry.Object(fields...)
	if ok {
		return text
	}
	for i, f := range fields {
		if f.JSON == "" {
			fields[i].JSON = quoted(f.Text)
		}
	}
	text, _ = entry.Object(fields...)
	return text
}

// quoted returns s as a JSON string.
func quoted(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil { // unreachable: a string
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// asJSON is the server's answer.
func asJSON(c api.Credential, _ string) (string, error) {
	return object((*entry.Credential)(&c).JSONFields()...), nil
}

func expiration(c api.Credential) string { return (*entry.Credential)(&c).Until() }

// process is what the SDKs' process provider reads.
func process(c api.Credential, _ string) (string, error) {
	return object((*entry.Credential)(&c).ProcessFields()...), nil
}

// env is commands for a POSIX shell. A session token that is left over would
// make AWS refuse the pair.
func env(c api.Credential, _ string) (string, error) {
	return fmt.Sprintf("export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\nexport AWS_CREDENTIAL_EXPIRATION=%s\nunset "+
		"AWS_SESSION_TOKEN\n",
		Quote(c.AccessKeyID), Quote(c.SecretAccessKey), Quote(expiration(c))), nil
}

// Quote makes one word of s for a POSIX shell, whatever the server sent.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// dotenv is lines for the many readers of .env files. They agree on bare words
// and, all but docker's --env-file, on single quotes; on no way to put a
// single quote into a value.
func dotenv(c api.Credential, _ string) (string, error) {
	var b strings.Builder
	for _, kv := range [][2]string{
		{"AWS_ACCESS_KEY_ID", c.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", c.SecretAccessKey},
		{"AWS_CREDENTIAL_EXPIRATION", expiration(c)},
	} {
		value := kv[1]
		switch {
		case strings.ContainsAny(value, `'\`):
			return "", fmt.Errorf("%s cannot be written into a .env file", kv[0])
		case strings.ContainsFunc(value, func(r rune) bool { return !strings.ContainsRune(WordRunes, r) }):
			value = "'" + value + "'"
		}
		fmt.Fprintf(&b, "%s=%s\n", kv[0], value)
	}
	return b.String(), nil
}

// WordRunes need no quotes anywhere. IAM's keys are made of them.
const WordRunes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+=_:.-"

// powershell is statements for PowerShell, where typographic quotes end a
// string too.
func powershell(c api.Credential, _ string) (string, error) {
	quote := func(s string) string {
		var b strings.Builder
		for _, r := range s {
			if strings.ContainsRune("'\u2018\u2019\u201a\u201b", r) {
				b.WriteRune(r)
			}
			b.WriteRune(r)
		}
		return "'" + b.String() + "'"
	}
	return fmt.Sprintf("$Env:AWS_ACCESS_KEY_ID = %s\n$Env:AWS_SECRET_ACCESS_KEY = %s\n$Env:AWS_CREDENTIAL_EXPIRATION = "+
		"%s\nRemove-Item Env:AWS_SESSION_TOKEN -ErrorAction Ignore\n",
		quote(c.AccessKeyID), quote(c.SecretAccessKey), quote(expiration(c))), nil
}

// ini is a section of the shared credentials file. No SDK reads that again
// while it runs.
func ini(c api.Credential, _ string) (string, error) {
	if strings.ContainsAny(c.UserName, "[]") {
		return "", fmt.Errorf("user name %q cannot name a section", c.UserName)
	}
	return fmt.Sprintf("[%s]\n# until %s\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		c.UserName, expiration(c), c.AccessKeyID, c.SecretAccessKey), nil
}

// sesSMTP is user name and password for SES's SMTP endpoint, which end with
// the key that they derive from. Some readers, such as Terraform's external data
// source, take nothing but strings: port is in JSON.
func sesSMTP(c api.Credential, region, port string) (string, error) {
	return object(
		entry.Field{Name: "Host", Text: "email-smtp." + region + ".amazonaws.com"}, entry.Field{Name: "Port", JSON: port},
		entry.Field{Name: "Username", Text: c.AccessKeyID}, entry.Field{Name: "Password", Text: sessmtp.Password(c.SecretAccessKey, region)},
		entry.Field{Name: "Expiration", Text: expiration(c)},
	), nil
}
