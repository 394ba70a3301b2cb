package cli

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/deploy"
)

// stackAccount is an AWS account with CloudFormation, S3 and SES that remember
// what was made, over the account that the tests of preflights have.
type stackAccount struct {
	*account
	objects  map[string][]byte // S3, by path
	verified map[string]int    // SES: how often it was asked about the address since a mail was sent
	inert    bool              // a change set has no changes

	discarded int // plans
}

// stacked starts the account, and returns what runs commands in it.
func stacked(t *testing.T, a *stackAccount) *shell {
	t.Helper()
	a.start(t)
	a.objects, a.verified = map[string][]byte{}, map[string]int{}
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	t.Setenv("AWS_ENDPOINT_URL", srv.URL)
	s := &shell{T: t, File: filepath.Join(t.TempDir(), "keyrot.yaml")}
	s.Env, s.out, s.errs = testEnv(t, nil)
	if err := os.WriteFile(s.File, []byte("users: {path_prefix: /m/}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (a *stackAccount) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	w.Header().Set("X-Amz-Request-Id", "r")
	w.Header().Set("X-Amzn-Requestid", "r")
	xml := func(format string, args ...any) {
		_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></%[1]sResponse>",
			form.Get("Action"), fmt.Sprintf(format, args...))
	}
	switch action := form.Get("Action"); {
	case strings.HasPrefix(r.URL.Path, "/v2/email/"):
		a.mail(w, r, body)
	case action == "CreateChangeSet":
		xml("<Id>arn:aws:cloudformation:eu-west-1:123456789012:changeSet/c/1</Id><StackId>arn:aws:cloudformation:eu-west-1:123456789012:stack/s/1</StackId>")
	case action == "DescribeChangeSet" && a.inert:
		xml("<Status>FAILED</Status><StatusReason>The submitted information didn't contain changes.</StatusReason>")
	case action == "DescribeChangeSet":
		xml("<Status>CREATE_COMPLETE</Status><ExecutionStatus>AVAILABLE</ExecutionStatus><Changes><member><Type>Resource</Type><ResourceChange>" +
			"<Action>Add</Action><LogicalResourceId>Table</LogicalResourceId><ResourceType>AWS::DynamoDB::Table</ResourceType></ResourceChange></member></Changes>")
	case action == "DeleteChangeSet" && a.noStack:
		a.discarded++
		xml("")
	case action == "ExecuteChangeSet", action == "DeleteStack", action == "DeleteChangeSet":
		a.noStack = map[string]bool{"ExecuteChangeSet": false, "DeleteStack": true}[action]
		xml("")
	case action == "DescribeStackResources":
		xml("<StackResources><member><LogicalResourceId>Table</LogicalResourceId><PhysicalResourceId>%s</PhysicalResourceId>"+
			"<ResourceType>AWS::DynamoDB::Table</ResourceType><ResourceStatus>CREATE_COMPLETE</ResourceStatus></member></StackResources>", accountTable)
	case action == "" && r.Header.Get("X-Amz-Target") == "":
		a.bucket(w, r, body)
	default:
		a.account.ServeHTTP(w, r)
	}
}

// bucket is S3.
func (a *stackAccount) bucket(w http.ResponseWriter, r *http.Request, body []byte) {
	at := strings.TrimSuffix(r.URL.Path, "/")
	found, ok := a.objects[at]
	switch {
	case r.Method == http.MethodPut:
		if r.URL.RawQuery == "" || strings.HasPrefix(r.URL.RawQuery, "x-id") {
			a.objects[at] = body
		}
	case r.Method == http.MethodDelete:
		delete(a.objects, at)
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Query().Get("list-type") != "":
		_, _ = io.WriteString(w, "<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>")
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = w.Write(found)
	}
}

// mail is SES, whose owners follow the link before it is asked the third time.
func (a *stackAccount) mail(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	address, one := strings.CutPrefix(r.URL.Path, "/v2/email/identities/")
	switch {
	case r.URL.Path == "/v2/email/account":
		_, _ = io.WriteString(w, `{"ProductionAccessEnabled":false,"SendQuota":{"Max24HourSend":200,"MaxSendRate":1,"SentLast24Hours":0}}`)
	case !one:
		var in struct{ EmailIdentity string }
		_ = json.Unmarshal(body, &in)
		a.verified[in.EmailIdentity] = 0
		_, _ = io.WriteString(w, `{"VerifiedForSendingStatus":false}`)
	default:
		asked, known := a.verified[address]
		if !known {
			w.Header().Set("X-Amzn-Errortype", "NotFoundException")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"message":"no such identity"}`)
			return
		}
		a.verified[address]++
		_, _ = fmt.Fprintf(w, `{"VerifiedForSendingStatus":%t,"VerificationStatus":%q}`, asked > 1, map[bool]string{true: "SUCCESS", false: "PENDING"}[asked > 1])
	}
}

func TestVerifyEmails(t *testing.T) {
	s := stacked(t, &stackAccount{account: &account{}})
	s.Refused(2, "is not an e-mail address", "verify-emails", "nobody")
	s.Refused(2, "requires at least 1 arg", "verify-emails")
	if out, errs := s.Succeed("verify-emails", "a@example.com"); !strings.Contains(errs, "SES has sent a link") || !strings.Contains(out, "pending") {
		t.Errorf("verify-emails = %q, %q", out, errs)
	}
	s.Refused(3, "1 of 1 addresses are not verified yet", "verify-emails", "b@example.com", "--wait", "--wait-for", "1ms")
	s.Succeed("verify-emails", "a@example.com")
	if out, _ := s.Succeed("verify-emails", "a@example.com", "--wait", "-o", "json"); !strings.Contains(out, `"verified": true`) {
		t.Errorf("verify-emails --wait = %s", out)
	}
	t.Setenv("AWS_REGION", "")
	s.Refused(2, "set AWS_REGION", "verify-emails", "a@example.com")
}

// functionZip is a file with a function's program.
func functionZip(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "f.zip")
	art, err := deploy.Pack(armProgram())
	if err == nil {
		err = os.WriteFile(file, art.Zip, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestCtrlCDuringADeployment: it is said what stays, and a plan that is not carried
// out is discarded.
func TestCtrlCDuringADeployment(t *testing.T) {
	file := functionZip(t)
	deploys := []string{"deploy", "--admin-email", "a@example.com", "--function-zip", file, "--yes", "--accept-widening"}
	for _, tc := range []struct {
		when, left string
		args       []string
		there      bool // the stack is, before
		discards   int
	}{
		{"account 123456789012", "keyrot: interrupted\n", deploys, false, 0},
		{"uploaded, ", "interrupted, stack iam-key-rotation was not changed; what was made for it (bucket keyrot-artefacts-", deploys, false, 0},
		{"SES has sent a link", "interrupted, stack iam-key-rotation was not changed; what was made for it", deploys, false, 1},
		{"confirm the alarms' subscription", "endpoint", deploys, false, 0}, // all is done
		{"stack s deleted", "interrupted, stack iam-key-rotation is not replaced yet", append(deploys, "--cleanup"), true, 0},
		{"stack s deleted", "interrupted, stack s is deleted, but not all that belonged to it; run this again to continue",
			[]string{"cleanup", "--yes"}, true, 0},
		{"a@example.com: SES has sent a link", "interrupted, a@example.com is not verified yet; run this again", []string{"verify-emails", "a@example.com", "--wait"}, false, 0},
	} {
		t.Run(tc.when+" "+tc.args[0], func(t *testing.T) {
			a := &stackAccount{account: &account{noStack: !tc.there}}
			s := stacked(t, a)
			s.Interrupt(tc.when)
			code, out, errs := s.Run(tc.args...)
			if code != 130 && tc.left != "endpoint" || !strings.Contains(out+errs, tc.left) || a.discarded != tc.discards {
				t.Errorf("%s = %d, %d plans discarded\n%s%s\nwant %q", strings.Join(tc.args[:1], " "), code, a.discarded, out, errs, tc.left)
			}
		})
	}
}

func TestDeployAndCleanup(t *testing.T) {
	a := &stackAccount{account: &account{noStack: true}}
	s := stacked(t, a)
	file := functionZip(t)
	args := []string{"deploy", "--admin-email", "a@example.com", "--function-zip", file}
	s.Refused(2, "not confirmed", args...)
	s.Env.In = strings.NewReader("yes\n")
	out, errs := s.Succeed(args...)
	if !strings.Contains(out, "endpoint  ") {
		t.Errorf("deploy = %s\n%s", out, errs)
	}
	a.inert = true
	if _, errs := s.Succeed(append(args, "--yes", "--accept-widening")...); !strings.Contains(errs, "is up to date") {
		t.Errorf("deploy again said %s", errs)
	}
	s.Refused(2, "--yes does not accept that", append(args, "--yes")...)
	s.Refused(2, "--function-zip", "deploy", "--admin-email", "a@example.com", "--function-zip", s.File, "--yes")
	s.Succeed("cleanup", "--dry-run")
	s.Refused(2, "not confirmed", "cleanup")
	if _, errs := s.Succeed("cleanup", "--yes"); !strings.Contains(errs, "stay") || !a.noStack {
		t.Errorf("cleanup said %s", errs)
	}
}

// armProgram is the head of a program that the functions can run.
func armProgram() []byte {
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	put := binary.LittleEndian
	put.PutUint16(b[16:], uint16(elf.ET_EXEC))
	put.PutUint16(b[18:], uint16(elf.EM_AARCH64))
	put.PutUint32(b[20:], 1)
	put.PutUint64(b[32:], 64) // program headers
	put.PutUint16(b[52:], 64)
	put.PutUint16(b[54:], 56)
	put.PutUint16(b[56:], 1)
	put.PutUint32(b[64:], uint32(elf.PT_LOAD))
	return b
}

func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	s := newShell(t, "")
	s.Succeed("version")
	if out, _ := s.Succeed("version", "-o", "json"); !json.Valid([]byte(out)) {
		t.Errorf("version -o json = %s", out)
	}
	for _, args := range []string{"help", "help users enroll", "--help", "burn --help", "completion bash"} {
		if out, _ := s.Succeed(strings.Fields(args)...); !strings.Contains(out, "keyrot") {
			t.Errorf("keyrot %s = %s", args, out)
		}
	}
	s.Refused(2, "has no sub-commands", "help", "status", "x")
}
