package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// iamServer is the command "iam USER...": an IAM with those users, none of whom
// has a key, for the commands that follow. What is asked of it is written to the
// file iam.log, one line for each call. USER may be PATH/NAME.
func iamServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: iam USER...")
	}
	log := filepath.Join(ts.Getenv("WORK"), "iam.log")
	var mu sync.Mutex
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if err := r.ParseForm(); err != nil {
			http.Error(w, "no form", http.StatusBadRequest)
			return
		}
		if f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			_, _ = fmt.Fprintln(f, r.Form.Get("Action"), r.Form.Get("UserName"), r.Form.Get("MaxItems"))
			_ = f.Close()
		}
		w.Header().Set("Content-Type", "text/xml") // as AWS says; a middlebox's date is not believed
		answerIAM(w, r, args)
	}))
	ts.Defer(srv.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": srv.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test",
	} {
		ts.Setenv(name, value)
	}
}

func answerIAM(w http.ResponseWriter, r *http.Request, users []string) {
	action := r.Form.Get("Action")
	member := func(user string) string {
		i := strings.LastIndex(user, "/") + 1
		path := "/" + strings.TrimPrefix(user[:i], "/")
		return fmt.Sprintf("<Path>%s</Path><UserName>%s</UserName><UserId>AIDA%s</UserId><Arn>arn:aws:iam::123456789012:user%s%s</Arn>"+
			"<CreateDate>2026-01-01T00:00:00Z</CreateDate>", path, user[i:], user[i:], path, user[i:])
	}
	result := ""
	switch action {
	case "ListUsers":
		for _, u := range users {
			if strings.HasPrefix("/"+u, r.Form.Get("PathPrefix")) {
				result += "<member>" + member(u) + "</member>"
			}
		}
		result = "<IsTruncated>false</IsTruncated><Users>" + result + "</Users>"
	case "ListAccessKeys":
		result = "<IsTruncated>false</IsTruncated><AccessKeyMetadata></AccessKeyMetadata>"
	case "GetUser":
		for _, u := range users {
			if u[strings.LastIndex(u, "/")+1:] == r.Form.Get("UserName") {
				result = "<User>" + member(u) + "</User>"
			}
		}
	}
	if result == "" {
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>none</Message></Error><RequestId>r</RequestId></ErrorResponse>`)
		return
	}
	_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><%[1]sResult>%[2]s</%[1]sResult>`+
		`<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></%[1]sResponse>`, action, result)
}
