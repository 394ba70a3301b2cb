package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyrot/keyrot/pkg/api"
)

// fronts are servers in front of the scripts' keyrot servers, which make
// trouble when they are told to.
type fronts struct {
	mu    sync.Mutex
	front map[*testscript.TestScript]*front
}

type front struct {
	mode  atomic.Value
	asked atomic.Int64 // answered since the mode changed
	seen  atomic.Int64 // begun since then
	once  atomic.Bool  // passes all but the first request
	until atomic.Int64 // passes all from then on, in Unix nanoseconds; 0: never
}

// command is "front": with HOST:PORT it starts one for the server there and
// sets FRONT to its address; pass, hang, cut, 500, and the answers of a
// gateway or a firewall (401, 403, 502, html) say how it answers from now on, or
// once, or for a second from the first request on; asked waits until it has
// done so twice.
func (f *fronts) command(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: front HOST:PORT | asked | MODE [once | second]")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if has := f.front[ts]; has != nil {
		has.tell(ts, args)
		return
	}
	fr := &front{}
	fr.mode.Store("pass")
	if f.front == nil {
		f.front = map[*testscript.TestScript]*front{}
	}
	f.front[ts] = fr
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: args[0]})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer fr.asked.Add(1)
		if !fr.answer(w, r) {
			proxy.ServeHTTP(w, r)
		}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed when the script ends
	ts.Check(err)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: patience}
	done := make(chan struct{})
	go func() { _ = srv.Serve(ln); close(done) }()
	ts.Defer(func() { _ = srv.Close(); <-done })
	ts.Setenv("FRONT", ln.Addr().String())
}

// answer answers in the server's place, or leaves it to that.
func (f *front) answer(w http.ResponseWriter, r *http.Request) bool {
	first := f.seen.Add(1) == 1
	if end := f.until.Load(); f.once.Load() && !first || end > 0 && time.Now().UnixNano() > end {
		return false
	}
	if f.until.Load() < 0 {
		f.until.Store(time.Now().Add(time.Second).UnixNano())
	}
	switch f.mode.Load() {
	case "500":
		http.Error(w, "oops", http.StatusInternalServerError)
	case "401":
		http.Error(w, `{"message":"Unauthorized"}`, http.StatusUnauthorized)
	case "403":
		http.Error(w, `{"message":"Forbidden"}`, http.StatusForbidden)
	case "502":
		http.Error(w, "<html>Bad Gateway</html>", http.StatusBadGateway)
	case "html":
		_, _ = io.WriteString(w, "<html>Please log in</html>")
	case "cut":
		panic(http.ErrAbortHandler)
	case "hang":
		<-r.Context().Done()
	default:
		return false
	}
	return true
}

func (f *front) tell(ts *testscript.TestScript, args []string) {
	if args[0] != "asked" {
		how := args[len(args)-1]
		f.mode.Store(args[0])
		f.once.Store(how == "once")
		f.until.Store(0)
		if how == "second" {
			f.until.Store(-1)
		}
		f.asked.Store(0)
		f.seen.Store(0)
		return
	}
	for deadline := time.Now().Add(patience); f.asked.Load() < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("the front was not asked")
		}
	}
}

// lasting runs a shell command that prints a credential as JSON until the
// credential is good for a while.
func lasting(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lasting DURATION COMMAND")
	}
	want, err := time.ParseDuration(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var c api.Credential
		if ts.Exec("sh", "-c", args[1]) == nil && json.Unmarshal([]byte(ts.ReadFile("stdout")), &c) == nil && time.Until(c.Expiration) >= want {
			return
		}
	}
	ts.Fatalf("no credential lasts %s", want)
}

// ask asks the endpoint that the AWS_CONTAINER_ variables in a file name, until
// it answers with a status and, if it is given, a text.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: ask FILE STATUS [TEXT]")
	}
	var got string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		raw, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil {
			continue // not written yet
		}
		if got = askOnce(variables(string(raw))); strings.HasPrefix(got, args[1]+" ") && strings.Contains(got, args[len(args)-1]) {
			return
		}
	}
	ts.Fatalf("the endpoint does not answer %s, but %s", args[1:], got)
}

// variables reads lines of NAME=VALUE, with or without export and quotes.
func variables(text string) map[string]string {
	vars := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		vars[name] = strings.Trim(value, "'")
	}
	return vars
}

// askOnce returns the status and what came with it.
func askOnce(vars map[string]string) string {
	token := vars["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
	if raw, err := os.ReadFile(vars["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]); err == nil {
		token = string(raw)
	}
	req, err := http.NewRequest(http.MethodGet, vars["AWS_CONTAINER_CREDENTIALS_FULL_URI"], nil) //nolint:noctx // the client has a limit
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Authorization", token)
	res, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return strings.TrimPrefix(res.Status, "HTTP/1.1 ") + "\n" + string(raw)
}
