// Package warm prints what is in get-key's cache, in a process that has only
// just begun. It does so for callers with an API key that keyrot made, in the
// formats that SDKs ask for; all else is left to the command, which reads the
// same cache.
package warm

import (
	"time"

	"github.com/keyrot/keyrot/internal/getkey/entry"
	"github.com/keyrot/keyrot/internal/getkey/quick"
)

// Answer prints what the cache has for the request and ends the process. It
// returns if the cache has nothing.
func Answer(r *quick.Request, now time.Time) {
	if r == nil {
		return
	}
	if text, ok := answer(r, now); ok {
		quick.Print(text)
	}
}

func answer(r *quick.Request, now time.Time) (text string, ok bool) {
	byKey := r.Identity == "api-key" || r.Identity == "" && r.OIDCTokenFile == ""
	dir := quick.CacheDir(r.Getenv)
	if !byKey || r.NoCache || dir == "" {
		return "", false
	}
	key, ok := entry.FromAPIKey(apiKey(r))
	if !ok {
		return "", false
	}
	what := entry.What(r.Endpoint, r.User)
	sealed, err := quick.ReadTrusted(quick.Join(dir, key.Name(what)))
	if err != nil {
		return "", false
	}
	var e entry.Entry
	if !key.Open(sealed, what, &e) || !e.Fresh(now) {
		return "", false
	}
	switch r.Format {
	case "credential-process":
		return entry.Object(e.Credential.ProcessFields()...)
	case "json":
		return entry.Object(e.Credential.JSONFields()...)
	}
	return "", false
}

// apiKey returns the API key, or something that is none.
func apiKey(r *quick.Request) string {
	key := r.Getenv("KEYROT_API_KEY")
	if key == "" {
		raw, err := quick.ReadTrusted(r.APIKeyFile)
		if err != nil {
			return ""
		}
		key = string(raw)
	}
	for key != "" && space(key[0]) {
		key = key[1:]
	}
	for key != "" && space(key[len(key)-1]) {
		key = key[:len(key)-1]
	}
	return key
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
