//go:build e2e

package e2e

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// scope takes the service out of a signature's scope.
var scope = regexp.MustCompile(`Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request`)

// restActions are the calls of REST protocols: method, path of up to one
// element for a bucket or an identity, and the parameter that tells them apart.
var restActions = map[string]map[string]string{
	"s3": {
		"HEAD /B": "HeadBucket", "PUT /B": "CreateBucket", "DELETE /B": "DeleteBucket",
		"PUT /B?publicAccessBlock": "PutPublicAccessBlock", "PUT /B?encryption": "PutBucketEncryption", "GET /B?list-type": "ListObjectsV2",
		"HEAD /B/K": "HeadObject", "GET /B/K": "GetObject", "PUT /B/K": "PutObject", "DELETE /B/K": "DeleteObject",
	},
	"ses": {
		"GET /v2/email/account": "GetAccount", "POST /v2/email/outbound-emails": "SendEmail",
		"POST /v2/email/identities": "CreateEmailIdentity", "GET /v2/email/identities/I": "GetEmailIdentity",
	},
}

// Action names what a request asks for: the service as signatures name it, and
// the operation; "" if it is not known.
func Action(req *http.Request, body string) (service, action string) {
	if m := scope.FindStringSubmatch(req.Header.Get("Authorization")); m != nil {
		service = m[1]
	}
	if _, name, ok := strings.Cut(req.Header.Get("X-Amz-Target"), "."); ok {
		return service, name
	}
	if names := restActions[service]; names != nil {
		return service, names[restShape(service, req)]
	}
	if form, err := url.ParseQuery(body); err == nil {
		return service, form.Get("Action")
	}
	return service, ""
}

func restShape(service string, req *http.Request) string {
	path := req.URL.Path
	switch bucket, key, deep := strings.Cut(strings.Trim(path, "/"), "/"); {
	case service == "s3" && deep && key != "":
		path = "/B/K"
	case service == "s3" && bucket != "":
		path = "/B"
	case strings.HasPrefix(path, "/v2/email/identities/"):
		path = "/v2/email/identities/I"
	}
	for _, name := range []string{"publicAccessBlock", "encryption", "list-type"} {
		if req.URL.Query().Has(name) {
			return req.Method + " " + path + "?" + name
		}
	}
	return req.Method + " " + path
}
