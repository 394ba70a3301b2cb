//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Recorder passes AWS requests on to a server and notes which actions they
// are, as IAM policies name them.
type Recorder struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string]bool
}

// targets are the JSON protocols' names for services.
var targets = map[string]string{"DynamoDB_20120810": "dynamodb", "TrentService": "kms", "secretsmanager": "secretsmanager"}

// NewRecorder starts a recorder in front of the server.
func NewRecorder(server string) (*Recorder, error) {
	to, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	r := &Recorder{seen: map[string]bool{}}
	proxy := httputil.NewSingleHostReverseProxy(to)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		r.note(req, string(body))
		proxy.ServeHTTP(w, req)
	}))
	return r, nil
}

func (r *Recorder) note(req *http.Request, body string) {
	action := req.Method + " " + req.URL.Path
	if service, name, ok := strings.Cut(req.Header.Get("X-Amz-Target"), "."); ok {
		action = targets[service] + ":" + name
	} else if form, err := url.ParseQuery(body); err == nil && form.Get("Action") != "" {
		action = "iam:" + form.Get("Action")
		if strings.Contains(req.Header.Get("Authorization"), "/sts/") {
			action = "sts:" + form.Get("Action")
		}
	}
	if action == "POST /v2/email/outbound-emails" {
		action = "ses:SendEmail"
	}
	if action == "dynamodb:TransactWriteItems" { // which needs the permission of what is in it
		for _, op := range []string{"Put", "Update", "Delete", "ConditionCheck"} {
			if strings.Contains(body, `"`+op+`":{`) {
				r.add("dynamodb:" + strings.TrimSuffix(op, "Check") + map[bool]string{true: "CheckItem", false: "Item"}[op == "ConditionCheck"])
			}
		}
		return
	}
	r.add(action)
}

func (r *Recorder) add(action string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[action] = true
}

// Take returns the actions seen since the last time, sorted. Asking who one is
// needs no permission and is left out.
func (r *Recorder) Take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for a := range r.seen {
		if a != "sts:GetCallerIdentity" {
			all = append(all, a)
		}
	}
	r.seen = map[string]bool{}
	slices.Sort(all)
	return all
}
