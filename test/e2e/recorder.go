//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"maps"
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
	Leading  string // partition key, of calls to DynamoDB
}

// Kind is the action, and in DynamoDB on which kind of items.
func (c Call) Kind() string {
	if kind, _, _ := strings.Cut(c.Leading, "#"); kind != "" {
		return c.Action + " of " + kind + map[bool]string{true: "#"}[strings.Contains(c.Leading, "#")]
	}
	return c.Action
}

// Recorder passes the AWS requests of one role on to a server, notes which
// calls they are, and refuses what the role's policy does not allow: emulators
// allow everything.
type Recorder struct {
	*httptest.Server
	policy Policy
	tags   func(arn string) map[string]string
	mu     sync.Mutex
	seen   map[Call]bool
	owners map[string]string // of access keys
	fails  func(c Call) bool // answered with 503, without effect
}

// NewRecorder starts a recorder in front of the server.
func NewRecorder(server string, policy Policy, tags func(arn string) map[string]string) (*Recorder, error) {
	to, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	r := &Recorder{policy: policy, tags: tags, seen: map[Call]bool{}, owners: map[string]string{}}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = r.learn
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		if status := r.judge(r.note(req, body)); status != 0 {
			service, action := Action(req, string(body))
			refuse(w, req, service, action, status)
			return
		}
		proxy.ServeHTTP(w, req)
	}))
	return r, nil
}

// Fail has the calls that match fail from now on, nil none.
func (r *Recorder) Fail(match func(c Call) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails = match
}

// judge returns the status of a refusal, 0 for none.
func (r *Recorder) judge(calls []Call) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range calls {
		if c.Action != whoAmI && r.policy.Allows(c, r.tags) != nil {
			return http.StatusForbidden
		}
		if r.fails != nil && r.fails(c) {
			return http.StatusServiceUnavailable
		}
	}
	return 0
}

// whoAmI needs no permission.
const whoAmI = "sts:GetCallerIdentity"

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
	Key, Item, ExpressionAttributeValues                    map[string]struct{ S string }
}

// note records the calls that the request stands for and returns them.
func (r *Recorder) note(req *http.Request, body []byte) (calls []Call) {
	defer func() { r.add(calls) }()
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
					calls = append(calls, Call{Action: "dynamodb:" + kind, Resource: tableARN(it.TableName)})
				}
			}
			return calls
		}
		c.Leading = cmp.Or(in.Key["pk"].S, in.Item["pk"].S, in.ExpressionAttributeValues[":kind"].S)
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
	return []Call{c}
}

// user is the resource of a call to IAM.
func (r *Recorder) user(body, op string) string {
	form, err := url.ParseQuery(body)
	switch {
	case err != nil, op == "GetAccountAuthorizationDetails":
		return "*"
	case op == "ListUsers": // the resource in AWS's refusals
		return "arn:aws:iam::123456789012:user" + cmp.Or(form.Get("PathPrefix"), "/")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return userARN(cmp.Or(form.Get("UserName"), r.owners[form.Get("AccessKeyId")]))
}

// userARN is the ARN of a user of a deployScene.
func userARN(name string) string { return "arn:aws:iam::123456789012:user/machines/" + name }

func (r *Recorder) add(calls []Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range calls {
		r.seen[c] = true
	}
}

// Kinds returns the kinds of the calls seen so far, sorted, each once.
func (r *Recorder) Kinds() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := map[string]bool{}
	for c := range r.seen {
		kinds[c.Kind()] = true
	}
	return slices.Sorted(maps.Keys(kinds))
}

// Take returns the calls seen since the last time, sorted, without whoAmI.
func (r *Recorder) Take() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Call
	for c := range r.seen {
		if c.Action != whoAmI {
			all = append(all, c)
		}
	}
	r.seen = map[Call]bool{}
	slices.SortFunc(all, func(a, b Call) int {
		return cmp.Or(cmp.Compare(a.Action, b.Action), cmp.Compare(a.Resource, b.Resource))
	})
	return all
}
