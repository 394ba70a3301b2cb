//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// What may happen to a call of AWS.
const (
	dropped   = "dropped"   // the connection ends before the call has an effect
	lost      = "lost"      // the call has its effect, the connection is reset
	throttled = "throttled" // AWS's refusal
	failing   = "failing"   // AWS's 500 or 503, with or without an effect
	cut       = "cut"       // the answer ends in the middle
	delayed   = "delayed"   // for up to 4 s
	html      = "html"      // a middlebox answers 200 in its own words, with or without an effect
	empty     = "empty"     // 200 without a body, with or without an effect
	stale     = "stale"     // ListAccessKeys answers what it answered up to 10 s ago
	hanging   = "hanging"   // no answer, as in a partition
)

// weatherKinds are the faults that come one at a time or mixed.
var weatherKinds = []string{dropped, lost, throttled, failing, cut, delayed, html, empty, stale}

const (
	staleAge = 10 * time.Second
	delayMax = 4 * time.Second
)

// Weather passes AWS calls on to servers and has faults befall them, as many
// and of the kinds that it is told to. Which call is hit is drawn from a seed.
type Weather struct {
	*httptest.Server
	to map[string]*Skew // by service, all of one time

	mu    sync.Mutex
	draw  *rand.Rand
	share float64 // of the calls that are hit
	kinds []string
	right bool                  // all clocks are
	lists map[string][]answered // of ListAccessKeys, by user
	hits  map[string]int
	calls int
}

// answered is an answer of AWS.
type answered struct {
	at     time.Time
	status int
	header http.Header
	body   []byte
}

// NewWeather starts one in front of servers, by service. Unless clocks are to
// be right, AWS's clock differs from this machine's, and middleboxes' from
// both.
func NewWeather(to map[string]string, root aws.Credentials, seed uint64, right bool) *Weather {
	w := &Weather{
		to: map[string]*Skew{}, draw: rand.New(rand.NewPCG(seed, 1)), right: right,
		lists: map[string][]answered{}, hits: map[string]int{},
	}
	behind := map[string]*Skew{} // by server: STS knows the keys that IAM has made
	for service, url := range to {
		if behind[url] == nil {
			behind[url] = NewSkew(url, root)
		}
		w.to[service] = behind[url]
	}
	if !right {
		w.Shift(skews[w.draw.IntN(len(skews))])
	}
	w.Server = httptest.NewServer(w)
	return w
}

// Close stops everything.
func (w *Weather) Close() {
	w.Server.Close()
	for _, s := range w.to {
		s.Server.Close()
	}
}

// Set has a share of the calls hit by faults of the kinds, from now on.
func (w *Weather) Set(share float64, kinds ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.share, w.kinds = share, kinds
}

// Shift sets how far AWS's clock is ahead of this machine's.
func (w *Weather) Shift(d time.Duration) {
	for _, s := range w.to {
		s.Shift(d)
	}
}

// Now returns AWS's time.
func (w *Weather) Now() time.Time { return w.to["iam"].Now() }

// Hits returns how many calls there were and what happened to them.
func (w *Weather) Hits() (calls int, hits map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls, maps.Clone(w.hits)
}

// off returns how wrong the clock of whatever answers is: a middlebox's often
// is, and AWS's never.
func (w *Weather) off(kind string, how float64) time.Duration {
	if w.right || kind != html && kind != empty {
		return 0
	}
	return skews[int(how*100)%len(skews)]
}

// fate draws what happens to a call, and a number from 0 to 1 for how.
func (w *Weather) fate(action, user string) (kind string, how float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	hit, which, how := w.draw.Float64() < w.share, w.draw.Float64(), w.draw.Float64()
	if !hit {
		return "", how
	}
	kind = w.kinds[int(which*float64(len(w.kinds)))]
	if kind == stale && (action != "ListAccessKeys" || len(w.lists[user]) == 0) {
		return "", how
	}
	w.hits[kind]++
	return kind, how
}

// ServeHTTP implements http.Handler.
func (w *Weather) ServeHTTP(out http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the program was stopped
	}
	service, action := Action(req, string(body))
	form, _ := url.ParseQuery(string(body)) // what is no form has no user
	user := form.Get("UserName")
	kind, how := w.fate(action, user)
	out.Header().Set("Date", w.Now().Add(w.off(kind, how)).UTC().Format(http.TimeFormat))
	switch {
	case kind == hanging:
		<-req.Context().Done()
		return
	case kind == dropped:
		reset(out)
	case w.skewed(req):
		awsError(out, req, http.StatusForbidden, "SignatureDoesNotMatch", "Signature expired or not yet current")
		return
	case kind == throttled:
		awsError(out, req, http.StatusBadRequest, "Throttling", "Rate exceeded")
		return
	case kind == delayed:
		time.Sleep(time.Duration(how * float64(delayMax)))
	case kind == stale:
		w.mu.Lock()
		old := w.lists[user][int(how*float64(len(w.lists[user])))]
		w.mu.Unlock()
		w.answer(out, old)
		return
	case how < 0.5 && (kind == html || kind == empty || kind == failing): // without an effect
		babble(out, req, kind)
		return
	}
	a, err := w.pass(req, service, body)
	if err != nil {
		reset(out)
	}
	w.note(action, user, a)
	switch kind {
	case lost:
		reset(out)
	case html, empty, failing:
		babble(out, req, kind)
	case cut:
		out.Header().Set("Content-Type", a.header.Get("Content-Type"))
		out.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
		out.WriteHeader(a.status)
		_, _ = out.Write(a.body[:len(a.body)/2])
		panic(http.ErrAbortHandler)
	default:
		w.answer(out, a)
	}
}

// skewed reports whether AWS would not take the request because of when it was
// signed.
func (w *Weather) skewed(req *http.Request) bool {
	at, err := time.Parse(amzDate, req.Header.Get("X-Amz-Date"))
	return err == nil && w.Now().Sub(at).Abs() > 5*time.Minute
}

// pass asks the server. A caller that goes away does not take the call back.
func (w *Weather) pass(req *http.Request, service string, body []byte) (a answered, err error) {
	if w.to[service] == nil {
		service = "sts" // not signed: it is asked for the time
	}
	to := w.to[service].Server.URL + req.URL.RequestURI()
	r, err := http.NewRequestWithContext(context.WithoutCancel(req.Context()), req.Method, to, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	r.Header = req.Header.Clone()
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return a, err
	}
	defer func() { _ = res.Body.Close() }()
	a = answered{at: time.Now(), status: res.StatusCode, header: res.Header}
	a.body, err = io.ReadAll(res.Body)
	return a, err
}

// note remembers lists.
func (w *Weather) note(action, user string, a answered) {
	if action != "ListAccessKeys" || a.status != http.StatusOK {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append(w.lists[user], a)
	for len(all) > 1 && time.Since(all[0].at) > staleAge {
		all = all[1:]
	}
	w.lists[user] = all
}

// answer answers what AWS said, now.
func (w *Weather) answer(out http.ResponseWriter, a answered) {
	for name, values := range a.header {
		out.Header()[name] = values
	}
	out.Header().Set("Date", w.Now().UTC().Format(http.TimeFormat))
	out.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	out.WriteHeader(a.status)
	_, _ = out.Write(a.body)
}

// babble answers as what is not AWS, or as AWS when it is not well.
func babble(out http.ResponseWriter, req *http.Request, kind string) {
	switch kind {
	case html:
		out.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(out, "<!doctype html><html><head><title>Sign in</title></head><body><form action=/login></form></body></html>\n")
	case failing:
		awsError(out, req, http.StatusServiceUnavailable, "ServiceUnavailable", "The service is unavailable. Please try again shortly.")
	default:
		out.WriteHeader(http.StatusOK)
	}
}

func awsError(out http.ResponseWriter, req *http.Request, status int, code, message string) {
	if req.Header.Get("X-Amz-Target") != "" { // the JSON protocol
		if code == "SignatureDoesNotMatch" {
			status, code = http.StatusBadRequest, "InvalidSignature"
		}
		out.Header().Set("Content-Type", "application/x-amz-json-1.0")
		out.WriteHeader(status)
		_, _ = fmt.Fprintf(out, `{"__type":"com.amazon.coral.service#%sException","message":%q}`, code, message)
		return
	}
	out.Header().Set("Content-Type", "text/xml")
	out.Header().Set("X-Amzn-Requestid", "00000000-0000-0000-0000-000000000000")
	out.WriteHeader(status)
	_, _ = fmt.Fprintf(out, `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>%s</Code>`+
		`<Message>%s</Message></Error><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>`, code, message)
}

// reset ends the connection by a reset and the handler with it.
func reset(out http.ResponseWriter) {
	if h, ok := out.(http.Hijacker); ok {
		if c, _, err := h.Hijack(); err == nil {
			if t, ok := c.(*net.TCPConn); ok {
				_ = t.SetLinger(0)
			}
			_ = c.Close()
		}
	}
	panic(http.ErrAbortHandler)
}
