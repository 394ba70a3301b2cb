package callerid_test

import (
	"fmt"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/auth/callerid"
)

// FuzzParseSigned: whatever passes names one action, no host, and nothing
// twice.
func FuzzParseSigned(f *testing.F) {
	s := &sts{url: "https://sts.eu-west-1.amazonaws.com", keys: map[string]principal{"ASIAROLEROLEROLEROLE": {secret: "s1", token: "tok/en+="}}}
	good := s.proof("ASIAROLEROLEROLEROLE").sign()
	f.Add(good)
	f.Add(good + "&Action=AssumeRole")
	f.Add(strings.Replace(good, "eu-west-1", "evil.example%2F", 1))
	f.Add("https://evil.example/?" + good)
	f.Fuzz(func(t *testing.T, query string) {
		region, forwarded, err := callerid.ParseSigned(query, t0)
		if err != nil {
			return
		}
		q, err := url.ParseQuery(forwarded)
		if err != nil || q.Get("Action") != "GetCallerIdentity" || q.Get("X-Amz-SignedHeaders") != "host;x-keyrot-server-id" {
			t.Fatalf("ParseSigned(%q) lets %q pass", query, forwarded)
		}
		for name, values := range q {
			if len(values) != 1 {
				t.Fatalf("ParseSigned(%q) lets %q pass twice", query, name)
			}
		}
		if strings.ContainsAny(region, "./:@\\ \r\n") || strings.ContainsAny(forwarded, " \r\n#") {
			t.Fatalf("ParseSigned(%q) = region %q, %q", query, region, forwarded)
		}
	})
}

// FuzzIdentity: whoever STS names, what an identity matches has the form of a
// user or a role of that account, so that no name reaches into another's.
func FuzzIdentity(f *testing.F) {
	f.Add(fmt.Sprintf(answerXML, "arn:aws:sts::"+account+":assumed-role/app/session", account))
	f.Add(fmt.Sprintf(answerXML, "arn:aws:iam::"+account+":user/team/ci", account))
	f.Add(fmt.Sprintf(answerXML, "arn:aws:sts::"+account+":assumed-role/x/role/app", account))
	f.Fuzz(func(t *testing.T, body string) {
		acc, arn, err := callerid.ParseIdentity([]byte(body))
		if err != nil {
			return
		}
		name, err := callerid.Canonical(acc, arn)
		if err != nil {
			return
		}
		if ok, _ := path.Match("arn:aws*:iam::"+acc+":role/*", name); !ok && !strings.HasPrefix(name[strings.Index(name, ":iam::"):], ":iam::"+acc+":user/") || len(acc) != 12 {
			t.Fatalf("Canonical(%q, %q) = %q", acc, arn, name)
		}
	})
}

func FuzzParseJWKS(f *testing.F) {
	f.Add(published())
	f.Add([]byte(`{"keys":[{"kty":"oct","kid":"a","k":"x"},null,1]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := callerid.ParseJWKS(raw)
		if (err == nil) == (len(keys) == 0) {
			t.Fatalf("ParseJWKS(%q) = %d keys, %v", raw, len(keys), err)
		}
	})
}

// FuzzOIDC: no token that the issuer has not signed is let in, and none makes
// the parsers fail in another way.
func FuzzOIDC(f *testing.F) {
	f.Add("eyJhbGciOiJub25lIiwia2lkIjoiZSJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.")
	f.Add("a.b.c")
	v := &callerid.Verifier{Identities: []callerid.Identity{entry("http://127.0.0.1:1")}}
	f.Fuzz(func(t *testing.T, token string) {
		if k, err := v.OIDC(t.Context(), token); err == nil {
			t.Fatalf("OIDC(%q) = %+v", token, k)
		}
	})
}

func FuzzLike(f *testing.F) {
	f.Add("a*b?", "axxbc")
	f.Add("*:*", "repo:org/app")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		got := callerid.Like(pattern, s)
		if !strings.ContainsAny(pattern, "*?") && got != (pattern == s) {
			t.Fatalf("Like(%q, %q) = %t", pattern, s, got)
		}
		if !callerid.Like(pattern+"*", s+"x") && got {
			t.Fatalf("Like(%q, %q) is false although it holds without the ends", pattern+"*", s+"x")
		}
	})
}

func TestLike(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"repo:org/app:*", "repo:org/app:ref:refs/heads/main", true},
		{"repo:org/app:*", "repo:org/app2:ref:refs/heads/main", false},
		{"repo:org/app:*", "xrepo:org/app:a", false},
		{"*:main", "a:b:main", true},
		{"*:main", "a:main:b", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"[a-z]", "b", false},
		{`\*`, "*", false},
		{"**", "", true},
		{"", "", true},
		{"", "a", false},
		{"a*a", "a", false},
	} {
		if got := callerid.Like(tc.pattern, tc.s); got != tc.want {
			t.Errorf("Like(%q, %q) = %t, want %t", tc.pattern, tc.s, got, tc.want)
		}
	}
}
