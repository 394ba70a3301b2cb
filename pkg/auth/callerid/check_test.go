package callerid_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/auth/callerid"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		spoil func(*issuer, *sts, *callerid.Verifier)
		oidc  string // what is told: found, or else an error
		aws   string
		fails bool
	}{
		{"all is well", func(*issuer, *sts, *callerid.Verifier) {}, "it has 3 keys", "sign for keyrot.example in eu-west-1", false},
		{"an issuer that redirects", func(i *issuer, _ *sts, _ *callerid.Verifier) { i.status.Store(302) }, "answered 302", "", true},
		{"an issuer without keys", func(i *issuer, _ *sts, _ *callerid.Verifier) { i.publish(jwks()) }, "key", "", true},
		{"no issuer", func(_ *issuer, _ *sts, v *callerid.Verifier) {
			v.Identities[0].OIDC.JWKSURL = "http://127.0.0.1:1/keys"
		}, "connect", "", true},
		{"STS that fails", func(_ *issuer, s *sts, _ *callerid.Verifier) {
			s.answer = func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }
		}, "", "STS in eu-west-1: asking STS: it answered 502", true},
		{"an STS that knows nobody's name", func(_ *issuer, s *sts, _ *callerid.Verifier) {
			s.answer = func(w http.ResponseWriter) {
				_, _ = fmt.Fprintf(w, answerXML, "arn:aws:iam::"+account+":user/team/ci", account)
			}
		}, "", "says that nobody is arn:aws:iam::" + account, true},
		{"no STS", func(_ *issuer, _ *sts, v *callerid.Verifier) { v.STS["eu-west-1"] = "http://127.0.0.1:1" }, "", "STS in eu-west-1: asking STS", true},
	} {
		i, s := newIssuer(t), newSTS(t)
		v := s.verifier(roleApp)
		v.Identities = append([]callerid.Identity{entry(i.url)}, v.Identities...)
		v.Now = time.Now
		tc.spoil(i, s, v)
		got := v.Check(t.Context())
		if len(got) != 2 || got[0].Name != "k8s" || got[1].Name != "aws" {
			t.Fatalf("%s: Check = %+v, want k8s and aws", tc.name, got)
		}
		for n, want := range []string{tc.oidc, tc.aws} {
			text := got[n].Text
			if got[n].Err != nil {
				text = got[n].Err.Error()
			}
			if want != "" && (!strings.Contains(text, want) || (got[n].Err != nil) != tc.fails) || want == "" && got[n].Err != nil {
				t.Errorf("%s: %s: %q, %v, want %q", tc.name, got[n].Name, got[n].Text, got[n].Err, want)
			}
		}
	}
}
