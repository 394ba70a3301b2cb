//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Call is a call as IAM judges it.
type Call struct {
	Action   string // as policies name it
	Resource string // ARN, or *
	From     string // sender, of mails
}

// Recorder passes AWS requests on to a server and notes which calls they are.
type Recorder struct {
	*httptest.Server
	mu     sync.Mutex
	seen   map[Call]bool
	owners map[string]string // of access keys
}

// NewRecorder starts a recorder in front of the server.
func NewRecorder(server string) (*Recorder, error) {
	to, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	r := &Recorder{seen: map[Call]bool{}, owners: map[string]string{}}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = r.learn
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		r.note(req, body)
		proxy.ServeHTTP(w, req)
	}))
	return r, nil
}

var keyOfUser = regexp.MustCompile(`(?s)<UserName>([^<]+)</UserName>\s*<AccessKeyId>([^<]+)</AccessKeyId>`)

// learn notes whose keys are in an answer.
func (r *Recorder) learn(res *http.Response) error {
	if !strings.Contains(res.Header.Get("Content-Type"), "xml") {
		return nil
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range keyOfUser.FindAllSubmatch(body, -1) {
		r.owners[string(m[2])] = string(m[1])
	}
	return nil
}

func tableARN(name string) string {
	return "arn:aws:dynamodb:" + Region + ":123456789012:table/" + name
}

func identityARN(email string) string {
	return "arn:aws:ses:" + Region + ":123456789012:identity/" + email
}

// request are the fields that say what a request is about.
type request struct {
	TableName, IndexName, KeyId, SecretId, FromEmailAddress string //nolint:revive // as AWS spells it
	TransactItems                                           []map[string]struct{ TableName string }
}

func (r *Recorder) note(req *http.Request, body []byte) {
	service, op := Action(req, string(body))
	var in request
	_ = json.Unmarshal(body, &in) // what is not JSON has none of them
	c := Call{Action: service + ":" + op, Resource: "none named: " + req.Method + " " + req.URL.Path}
	switch service {
	case "iam":
		c.Resource = r.user(string(body), op)
	case "dynamodb":
		if op == "TransactWriteItems" { // which needs the permission of what is in it
			for _, items := range in.TransactItems {
				for kind, it := range items {
					kind = map[string]string{"ConditionCheck": "ConditionCheckItem"}[kind] + map[string]string{"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}[kind]
					r.add(Call{Action: "dynamodb:" + kind, Resource: tableARN(it.TableName)})
				}
			}
			return
		}
		c.Resource = tableARN(in.TableName)
		if in.IndexName != "" {
			c.Resource += "/index/" + in.IndexName
		}
	case "kms":
		c.Resource = in.KeyId
	case "secretsmanager":
		c.Resource = in.SecretId
	case "ses":
		c.Resource, c.From = identityARN(in.FromEmailAddress), in.FromEmailAddress
	}
	r.add(c)
}

// user is the resource of a call to IAM.
func (r *Recorder) user(body, op string) string {
	form, err := url.ParseQuery(body)
	if err != nil || op == "GetAccountAuthorizationDetails" || op == "ListUsers" {
		return "*"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return userARN(cmp.Or(form.Get("UserName"), r.owners[form.Get("AccessKeyId")]))
}

// userARN is the ARN of a user of a deployScene.
func userARN(name string) string { return "arn:aws:iam::123456789012:user/machines/" + name }

func (r *Recorder) add(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[c] = true
}

// Take returns the calls seen since the last time, sorted. Asking who one is
// needs no permission and is left out.
func (r *Recorder) Take() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Call
	for c := range r.seen {
		if c.Action != "sts:GetCallerIdentity" {
			all = append(all, c)
		}
	}
	r.seen = map[Call]bool{}
	slices.SortFunc(all, func(a, b Call) int {
		return cmp.Or(cmp.Compare(a.Action, b.Action), cmp.Compare(a.Resource, b.Resource))
	})
	return all
}
