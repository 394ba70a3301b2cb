package callerid

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/keyrot/keyrot/pkg/api"
)

const (
	maxAsking = 16       // requests to STS at a time
	maxSTS    = 16 << 10 // bytes of its answer
)

// ask sends the request to STS and returns who STS says has signed it. Of the
// client there is nothing in it but the parameters that parseSigned let pass.
// Nothing is remembered, neither success nor failure.
func (v *Verifier) ask(ctx context.Context, endpoint, query string) (arn string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return "", fmt.Errorf("waiting to ask STS: %w", ctx.Err())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(endpoint, "/")+"/?"+query, nil)
	if err != nil {
		return "", errors.New("asking STS: its endpoint is malformed") // the cause holds the request
	}
	req.Header.Set(api.HeaderServerID, v.ServerID)
	res, err := v.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("asking STS: %w", withoutURL(err))
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := bounded(res.Body, maxSTS)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the answer of STS: %w", withoutURL(err))
	case res.StatusCode == http.StatusOK:
		return identityIn(raw)
	case res.StatusCode/100 == 4 && refuses(raw):
		return "", refused("STS answered %d", res.StatusCode)
	}
	return "", fmt.Errorf("asking STS: it answered %d", res.StatusCode)
}

// refuses reports whether an answer of status 4xx is STS's own word about the
// caller. What a proxy or a firewall on the way there says is none: a refusal
// takes from the caller what it was given before.
func refuses(raw []byte) bool {
	var body struct {
		XMLName xml.Name
		Error   string `xml:"Error>Code"` // in an ErrorResponse
		Code    string `xml:"Code"`       // in an Error
	}
	if xml.Unmarshal(raw, &body) != nil {
		return false
	}
	code := map[string]string{"ErrorResponse": body.Error, "Error": body.Code}[body.XMLName.Local]
	return code != "" && !strings.HasPrefix(code, "Throttling") && code != "RequestLimitExceeded"
}

// identityIn returns the caller in an answer of STS.
func identityIn(raw []byte) (arn string, err error) {
	account, arn, err := parseIdentity(raw)
	if err != nil {
		return "", fmt.Errorf("reading the answer of STS: %w", err)
	}
	return canonical(account, arn)
}

// parseIdentity reads an answer to GetCallerIdentity: one document, with one
// account and one ARN, and nothing in it that is not an element or text.
func parseIdentity(raw []byte) (account, arn string, err error) {
	var body struct {
		XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
		Results []struct {
			ARN     []string `xml:"https://sts.amazonaws.com/doc/2011-06-15/ Arn"`
			Account []string `xml:"https://sts.amazonaws.com/doc/2011-06-15/ Account"`
		} `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResult"`
	}
	if bytes.Contains(raw, []byte("<!")) {
		return "", "", errors.New("a declaration or comment in it")
	}
	dec := xml.NewDecoder(bytes.NewReader(raw))
	if dec.Decode(&body) != nil {
		return "", "", errors.New("not a GetCallerIdentityResponse")
	}
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if text, ok := t.(xml.CharData); err != nil || !ok || len(bytes.TrimSpace(text)) > 0 {
			return "", "", errors.New("more than one document")
		}
	}
	if len(body.Results) != 1 || len(body.Results[0].ARN) != 1 || len(body.Results[0].Account) != 1 {
		return "", "", errors.New("not one identity")
	}
	return body.Results[0].Account[0], body.Results[0].ARN[0], nil
}

// The ARNs of callers (IAM User Guide, "IAM identifiers"). Names are of a few
// ASCII characters, so that none of them can hold a separator.
var (
	sessionARN = regexp.MustCompile(`^arn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role/([\w+=,.@-]{1,64})/[\w+=,.@-]{2,64}$`)
	userARN    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}):user/(?:[\x21-\x2e\x30-\x7e]+/)*[\w+=,.@-]{1,64}$`)
)

// canonical returns the ARN that identities are about: a user's own, and of a
// session that of its role, whatever the session calls itself. Nobody else is
// a caller: not the root user, not federated users.
func canonical(account, arn string) (string, error) {
	if m := sessionARN.FindStringSubmatch(arn); m != nil && m[2] == account {
		return "arn:" + m[1] + ":iam::" + account + ":role/" + m[3], nil
	}
	if m := userARN.FindStringSubmatch(arn); m != nil && m[1] == account {
		return arn, nil
	}
	return "", refused("neither a user nor a role's session")
}

// withoutURL is a client's error without the request in it, which can be
// replayed for some minutes.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
