// Package cloud is an IAM and an STS in memory, for measurements: every call
// takes a set time, and token buckets refuse calls as AWS does, with Throttling.
// It knows what keyrot calls, checks no signatures, and counts.
package cloud

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Cloud answers IAM's and STS's query protocol. Its fields must not change once
// it does. It is safe for concurrent use.
type Cloud struct {
	// Latency is how long each call takes, a throttled one too.
	Latency time.Duration
	// PerSecond and Burst are the size of one bucket for each action of IAM that
	// changes something. Zero: nothing is throttled.
	PerSecond float64
	Burst     int
	// Done is called, if it is not nil, for each call that has changed something, in
	// the order in which they did. It must not call the cloud.
	Done func(action, user string)
	// Starves, if it is not nil, reports whether a call that would change something
	// is throttled whatever the buckets hold, by the access key id that signed it.
	// It must not call the cloud.
	Starves func(keyID string) bool

	mu      sync.Mutex
	ahead   time.Duration
	users   map[string]*user
	names   []string          // sorted
	owners  map[string]string // of keys
	buckets map[string]*rate.Limiter
	counts  map[string]Count
	refused []time.Time // when calls were throttled
	since   time.Time   // of the first call that changed something
}

// Count is what was asked of one action, and when for the first and the last time.
type Count struct {
	Calls, Throttled int
	First, Last      time.Time // by this machine's clock
}

type user struct {
	id   string
	keys []key
}

type key struct {
	id      string
	active  bool
	created time.Time
}

// New returns a cloud with n users: user-00000 and so on.
func New(n int) *Cloud {
	c := &Cloud{users: map[string]*user{}, owners: map[string]string{}, buckets: map[string]*rate.Limiter{}, counts: map[string]Count{}}
	for i := range n {
		name := fmt.Sprintf("user-%05d", i)
		c.users[name] = &user{id: fmt.Sprintf("AIDA%017d", i)}
		c.names = append(c.names, name)
	}
	return c
}

// Names returns the users' names.
func (c *Cloud) Names() []string { return slices.Clone(c.names) }

// Counts returns what was asked since the last Reset, by action.
func (c *Cloud) Counts() map[string]Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]Count, len(c.counts))
	for a, n := range c.counts {
		out[a] = n
	}
	return out
}

// Reset begins to count anew.
func (c *Cloud) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.counts)
	c.refused, c.since = nil, time.Time{}
}

// Throttle sets PerSecond and Burst anew.
func (c *Cloud) Throttle(perSecond float64, burst int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.PerSecond, c.Burst = perSecond, burst
	clear(c.buckets)
}

// RefusedAfter returns how many calls were throttled later than d after the first
// one that changed something.
func (c *Cloud) RefusedAfter(d time.Duration) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.refused {
		if at.Sub(c.since) > d {
			n++
		}
	}
	return n
}

// Give makes a key for the user as if it had made one itself.
func (c *Cloud) Give(name string) (id, userID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[name]
	k := key{fmt.Sprintf("AKIA%016X", rand.Uint64()), true, c.now().Truncate(time.Second)}
	u.keys = append(u.keys, k)
	c.owners[k.id] = name
	return k.id, u.id
}

// Pass has time pass by AWS's clock, which keyrot judges everything by.
func (c *Cloud) Pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func (c *Cloud) now() time.Time { return time.Now().Add(c.ahead).UTC() }

// ServeHTTP answers one call.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(c.Latency)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "", http.StatusBadRequest)
		return
	}
	action := r.PostForm.Get("Action")
	w.Header().Set("Content-Type", "text/xml")
	body, code, text, now := c.answer(action, r)
	w.Header().Set("Date", now.Format(http.TimeFormat))
	const request = "00000000-0000-0000-0000-000000000000"
	if code != "" {
		status := http.StatusBadRequest
		switch code {
		case "NoSuchEntity":
			status = http.StatusNotFound
		case "LimitExceeded":
			status = http.StatusConflict
		case "InvalidClientTokenId":
			status = http.StatusForbidden
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type>`+
			`<Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>`, code, text, request)
		return
	}
	ns := "https://iam.amazonaws.com/doc/2010-05-08/"
	if action == "GetCallerIdentity" {
		ns = "https://sts.amazonaws.com/doc/2011-06-15/"
	}
	fmt.Fprintf(w, `<%[1]sResponse xmlns="%[2]s"><%[1]sResult>%[3]s</%[1]sResult>`+
		`<ResponseMetadata><RequestId>%[4]s</RequestId></ResponseMetadata></%[1]sResponse>`, action, ns, body, request)
}

func (c *Cloud) answer(action string, r *http.Request) (body, code, text string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, code, text = c.take(action, r)
	return body, code, text, c.now()
}

func (c *Cloud) take(action string, r *http.Request) (body, code, text string) {
	n, now := c.counts[action], time.Now()
	n.Calls++
	n.Last = now
	if n.First.IsZero() {
		n.First = now
	}
	if c.since.IsZero() && changes(action) {
		c.since = now
	}
	full := changes(action) && c.Starves != nil && c.Starves(signer(r)) || !c.bucket(action).Allow()
	if full {
		n.Throttled++
		c.refused = append(c.refused, now)
	}
	c.counts[action] = n
	if full {
		return "", "Throttling", "Rate exceeded"
	}
	name := r.PostForm.Get("UserName")
	switch action {
	case "GetCallerIdentity":
		return c.identity(r)
	case "ListUsers":
		return c.list(r)
	case "GetAccessKeyLastUsed":
		return fmt.Sprintf(`<UserName>%s</UserName>`+
			`<AccessKeyLastUsed><ServiceName>N/A</ServiceName><Region>N/A</Region></AccessKeyLastUsed>`,
			c.owners[r.PostForm.Get("AccessKeyId")]), "", ""
	}
	u := c.users[name]
	if u == nil {
		return "", "NoSuchEntity", "The user with name " + name + " cannot be found."
	}
	if body, code, text = u.answer(c, action, name, r); code == "" && c.Done != nil && changes(action) {
		c.Done(action, name)
	}
	return body, code, text
}

func changes(action string) bool {
	return action == "CreateAccessKey" || action == "UpdateAccessKey" || action == "DeleteAccessKey"
}

func (c *Cloud) bucket(action string) *rate.Limiter {
	b := c.buckets[action]
	if b == nil {
		b = rate.NewLimiter(rate.Inf, 0)
		if c.PerSecond > 0 && changes(action) {
			b = rate.NewLimiter(rate.Limit(c.PerSecond), c.Burst)
		}
		c.buckets[action] = b
	}
	return b
}

// signer returns the access key id that the request is signed with.
func signer(r *http.Request) string {
	_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(after, "/")
	return id
}

// identity says whose key signed the request.
func (c *Cloud) identity(r *http.Request) (body, code, text string) {
	id := signer(r)
	name, ok := c.owners[id]
	if !ok {
		return `<Arn>arn:aws:iam::123456789012:user/operator</Arn><UserId>AIDAOPERATOR</UserId><Account>123456789012</Account>`, "", ""
	}
	u := c.users[name]
	if i := u.find(id); i < 0 || !u.keys[i].active {
		return "", "InvalidClientTokenId", "The security token included in the request is invalid."
	}
	return fmt.Sprintf(`<Arn>%s</Arn><UserId>%s</UserId><Account>123456789012</Account>`, arn(name), u.id), "", ""
}

func arn(name string) string { return "arn:aws:iam::123456789012:user/" + name }

func (c *Cloud) list(r *http.Request) (body, code, text string) {
	const page = 1000
	from, _ := slices.BinarySearch(c.names, r.PostForm.Get("Marker"))
	end := min(from+page, len(c.names))
	var b strings.Builder
	b.WriteString("<Users>")
	for _, name := range c.names[from:end] {
		b.WriteString("<member>" + c.users[name].member(name) + "</member>")
	}
	b.WriteString("</Users>")
	if end < len(c.names) {
		fmt.Fprintf(&b, "<IsTruncated>true</IsTruncated><Marker>%s</Marker>", c.names[end])
	} else {
		b.WriteString("<IsTruncated>false</IsTruncated>")
	}
	return b.String(), "", ""
}

func (u *user) member(name string) string {
	return fmt.Sprintf(`<Path>/</Path><UserName>%s</UserName><UserId>%s</UserId><Arn>%s</Arn>`+
		`<CreateDate>2026-01-01T00:00:00Z</CreateDate>`, name, u.id, arn(name))
}

func (u *user) find(id string) int {
	return slices.IndexFunc(u.keys, func(k key) bool { return k.id == id })
}

func (k key) status() string {
	if k.active {
		return "Active"
	}
	return "Inactive"
}

const quota = 2

func (u *user) answer(c *Cloud, action, name string, r *http.Request) (body, code, text string) {
	id := r.PostForm.Get("AccessKeyId")
	i := u.find(id)
	switch action {
	case "GetUser":
		return "<User>" + u.member(name) + "</User>", "", ""
	case "ListAccessKeys":
		var b strings.Builder
		b.WriteString("<IsTruncated>false</IsTruncated><AccessKeyMetadata>")
		for _, k := range u.keys {
			b.WriteString("<member>" + k.member(name) + "</member>")
		}
		b.WriteString("</AccessKeyMetadata>")
		return b.String(), "", ""
	case "CreateAccessKey":
		if len(u.keys) >= quota {
			return "", "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2"
		}
		k := key{fmt.Sprintf("AKIA%016X", rand.Uint64()), true, c.now()}
		u.keys = append(u.keys, k)
		c.owners[k.id] = name
		return fmt.Sprintf(`<AccessKey>%s<SecretAccessKey>%040x</SecretAccessKey></AccessKey>`, k.member(name), rand.Uint64()), "", ""
	case "UpdateAccessKey", "DeleteAccessKey":
		if i < 0 {
			return "", "NoSuchEntity", "The Access Key with id " + id + " cannot be found."
		}
		if action == "DeleteAccessKey" {
			u.keys = slices.Delete(u.keys, i, i+1)
		} else {
			u.keys[i].active = r.PostForm.Get("Status") == "Active"
		}
		return "", "", ""
	}
	return "", "InvalidAction", "Could not find operation " + action
}

func (k key) member(name string) string {
	return fmt.Sprintf(`<UserName>%s</UserName><AccessKeyId>%s</AccessKeyId><Status>%s</Status><CreateDate>%s</CreateDate>`,
		name, k.id, k.status(), k.created.Format(time.RFC3339))
}
