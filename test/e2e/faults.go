//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// Fate is what befalls a call.
type Fate int

// The fates.
const (
	Denied Fate = iota // refused once, as AWS refuses, without effect
	Down               // 503 for all calls from then on, without effect
	Lost               // all calls from then on take effect, but the connection breaks
)

func (f Fate) String() string { return [...]string{"is denied", "is down", "loses its answer"}[f] }

// Fault befalls the nth call of an action, as services name it.
type Fault struct {
	Action string
	Nth    int // from 1
	Fate   Fate
}

func (f Fault) String() string { return fmt.Sprintf("%s call %d %s", f.Action, f.Nth, f.Fate) }

// Saboteur passes AWS calls on to a server, counts them by action, and has a
// fault befall one. What the server lacks it answers itself.
type Saboteur struct {
	*httptest.Server
	proxy *httputil.ReverseProxy
	past  aws.Config // to the server itself

	mu      sync.Mutex
	fault   Fault
	struck  bool
	order   []string // each action once, in the order of first calls
	calls   map[string]int
	unnamed []string
	secrets []string // that the server has given
	pretend types.StackStatus
}

// Pretend has stacks be in the state until one is deleted.
func (s *Saboteur) Pretend(status types.StackStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pretend = status
}

// NewSaboteur starts one in front of the server that past reaches.
func NewSaboteur(past aws.Config) (*Saboteur, error) {
	to, err := url.Parse(*past.BaseEndpoint)
	if err != nil {
		return nil, err
	}
	s := &Saboteur{past: past, proxy: httputil.NewSingleHostReverseProxy(to)}
	s.proxy.ModifyResponse = s.overhear
	s.Begin(Fault{})
	s.Server = httptest.NewServer(s)
	return s, nil
}

// Begin forgets what was called and waits to have the fault befall a call.
func (s *Saboteur) Begin(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.struck, s.order, s.calls, s.unnamed, s.pretend = f, false, nil, map[string]int{}, nil, ""
}

// Called returns the actions in the order of their first calls, how often each
// was called, and requests that Action does not know.
func (s *Saboteur) Called() (order []string, calls map[string]int, unnamed []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order, s.calls, s.unnamed
}

// Struck reports whether the fault has befallen a call.
func (s *Saboteur) Struck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.struck
}

// Secrets returns what nobody may ever see.
func (s *Saboteur) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{stackKey}, s.secrets...)
}

var stackStatus = regexp.MustCompile(`<StackStatus>(CREATE|UPDATE)_COMPLETE</StackStatus>`)

var secretKey = regexp.MustCompile(`<SecretAccessKey>([^<]+)</SecretAccessKey>`)

func (s *Saboteur) overhear(res *http.Response) error {
	if !strings.Contains(res.Header.Get("Content-Type"), "xml") {
		return nil
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pretend != "" {
		body = stackStatus.ReplaceAll(body, []byte("<StackStatus>"+s.pretend+"</StackStatus>"))
		res.ContentLength = int64(len(body))
		res.Header.Set("Content-Length", fmt.Sprint(len(body)))
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	for _, m := range secretKey.FindAllSubmatch(body, -1) {
		s.secrets = append(s.secrets, string(m[1]))
	}
	return nil
}

func (s *Saboteur) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the program was stopped
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	service, action := Action(req, string(body))
	fate, struck := s.note(req, service+":"+action, action != "")
	switch {
	case !struck:
		s.pass(w, req, service, action)
	case fate == Denied:
		refuse(w, req, service, action, http.StatusForbidden)
	case fate == Down:
		refuse(w, req, service, action, http.StatusServiceUnavailable)
	default:
		s.pass(httptest.NewRecorder(), req, service, action)
		panic(http.ErrAbortHandler) // closes the connection
	}
}

func (s *Saboteur) note(req *http.Request, name string, known bool) (Fate, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !known {
		s.unnamed = append(s.unnamed, req.Method+" "+req.URL.String())
	}
	if s.calls[name] == 0 {
		s.order = append(s.order, name)
	}
	s.calls[name]++
	if name != s.fault.Action || s.calls[name] < s.fault.Nth || s.fault.Fate == Denied && s.struck {
		return 0, false
	}
	s.struck = true
	return s.fault.Fate, true
}

// pass has the server answer, or answers for it where moto cannot: it has no
// policy simulator, no SES account, and makes no secret for a stack.
func (s *Saboteur) pass(w http.ResponseWriter, req *http.Request, service, action string) {
	own := func(contentType, body string) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Amzn-Requestid", "0")
		_, _ = io.WriteString(w, body)
	}
	switch service + ":" + action {
	case "iam:SimulatePrincipalPolicy":
		own("text/xml", `<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><SimulatePrincipalPolicyResult>`+
			`<IsTruncated>false</IsTruncated><EvaluationResults/></SimulatePrincipalPolicyResult><ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></SimulatePrincipalPolicyResponse>`)
	case "ses:GetAccount":
		own("application/json", `{"ProductionAccessEnabled":false,"SendQuota":{"Max24HourSend":200,"MaxSendRate":1,"SentLast24Hours":0},"SendingEnabled":true}`)
	case "secretsmanager:GetSecretValue":
		own("application/x-amz-json-1.1", `{"Name":"api","SecretString":"{\"api_key\":\"`+stackKey+`\"}"}`)
	case "cloudformation:DeleteStack":
		s.Pretend("")
		s.proxy.ServeHTTP(w, req)
	case "cloudformation:CreateChangeSet":
		s.reuse(req)
		s.proxy.ServeHTTP(w, req)
	default:
		s.proxy.ServeHTTP(w, req)
	}
}

// reuse makes room for a change set that creates a stack: AWS puts it into the
// stack in REVIEW_IN_PROGRESS that there is, moto beside it, under the same
// name.
func (s *Saboteur) reuse(req *http.Request) {
	raw, _ := io.ReadAll(req.Body) // from memory
	req.Body = io.NopCloser(bytes.NewReader(raw))
	form, err := url.ParseQuery(string(raw))
	if err != nil || form.Get("ChangeSetType") != "CREATE" {
		return
	}
	ctx, c, name := req.Context(), cloudformation.NewFromConfig(s.past), form.Get("StackName")
	out, err := c.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if err == nil && len(out.Stacks) > 0 && out.Stacks[0].StackStatus == types.StackStatusReviewInProgress {
		_, _ = c.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: out.Stacks[0].StackId})
	}
}

// refuse answers as the service does when it does not want to, or cannot.
func refuse(w http.ResponseWriter, req *http.Request, service, action string, status int) {
	code, message := "AccessDenied", "User: arn:aws:iam::123456789012:user/me is not authorized to perform: "+service+":"+action
	if status != http.StatusForbidden {
		code, message = "ServiceUnavailable", "Please reduce your request rate."
	}
	switch {
	case service == "s3":
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if req.Method != http.MethodHead {
			_, _ = fmt.Fprintf(w, `<Error><Code>%s</Code><Message>%s</Message><RequestId>0</RequestId></Error>`, code, message)
		}
	case req.Header.Get("X-Amz-Target") != "":
		if status == http.StatusForbidden {
			status, code = http.StatusBadRequest, "AccessDeniedException"
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"__type":"com.amazon.coral.service#%s","Message":%q}`, code, message)
	case service == "ses":
		if status == http.StatusForbidden {
			code = "AccessDeniedException"
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Amzn-Errortype", code)
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"message":%q}`, message)
	default:
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>0</RequestId></ErrorResponse>`, code, message)
	}
}
