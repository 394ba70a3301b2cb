package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/deploy"
)

// account answers what a look before a deployment asks of AWS: for ten users
// without keys, and a stack whose table has one setting.
type account struct {
	noStack bool
	known   bool            // the table has a record of a user
	denied  map[string]bool // actions

	mu     sync.Mutex
	item   json.RawMessage // what was saved last
	called map[string]bool
}

const (
	accountUsers = 10
	accountTable = "keyrot-table"
	accountKey   = "arn:aws:kms:eu-west-1:123456789012:key/1"
)

// start serves the account and has the SDK's settings lead to it.
func (a *account) start(t *testing.T) {
	t.Helper()
	a.called = map[string]bool{}
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": srv.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
}

// learnt has the table hold the rate, as a process of the stack found it.
func (a *account) learnt(t *testing.T, rate float64, at time.Time) {
	t.Helper()
	sdk, err := regional(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	st := openTable(sdk, config.Config{Store: config.Store{Table: accountTable, KMSKey: accountKey}})
	raw := fmt.Appendf(nil, `{"CreateAccessKey":{"rate":%v,"at":%q}}`, rate, at.UTC().Format(time.RFC3339))
	if _, err := st.SaveSetting(t.Context(), "iam.pace", raw, 0); err != nil {
		t.Fatal(err)
	}
}

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Amzn-Requestid", "r")
	form, _ := url.ParseQuery(string(body))
	_, action, isJSON := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if !isJSON {
		action = form.Get("Action")
	}
	a.called[action] = true
	switch {
	case isJSON && a.denied[action]:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"AccessDeniedException","message":"not for you"}`)
	case isJSON:
		raw, _ := json.Marshal(a.answer(action, body))
		w.Header().Set("X-Amz-Crc32", fmt.Sprint(crc32.ChecksumIEEE(raw))) // DynamoDB's SDK looks at it
		_, _ = w.Write(raw)
	case action == "DescribeStacks" && a.noStack:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack does not exist</Message></Error></ErrorResponse>`)
	case action == "": // SES, which only tells something, and the note of a removal
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></%[1]sResponse>",
			action, xmlAnswers[action])
	}
}

func (a *account) answer(action string, body []byte) any {
	out := map[string]any{"ConsumedCapacity": map[string]any{"TableName": accountTable, "CapacityUnits": 1}}
	secret := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	switch action {
	case "GenerateDataKey", "Decrypt":
		return map[string]any{"KeyId": accountKey, "Plaintext": secret, "CiphertextBlob": "AAAA"}
	case "PutItem":
		var in struct{ Item json.RawMessage }
		_ = json.Unmarshal(body, &in)
		a.item = in.Item
	case "GetItem":
		if a.item != nil {
			out["Item"] = a.item
		}
	case "Query":
		if a.known {
			out["Items"] = []any{map[string]any{
				"pk": map[string]string{"S": "entry"}, "sk": map[string]string{"S": "user-0"}, "version": map[string]string{"N": "1"},
				"record": map[string]string{"S": `{"user":"user-0"}`},
			}}
		}
	}
	return out
}

var xmlAnswers = map[string]string{
	"GetCallerIdentity": "<Arn>arn:aws:iam::123456789012:user/me</Arn>",
	"DescribeStacks": "<Stacks><member><StackName>s</StackName><StackStatus>CREATE_COMPLETE</StackStatus><Outputs>" +
		"<member><OutputKey>" + deploy.OutputTable + "</OutputKey><OutputValue>" + accountTable + "</OutputValue></member>" +
		"<member><OutputKey>" + deploy.OutputKey + "</OutputKey><OutputValue>" + accountKey + "</OutputValue></member></Outputs></member></Stacks>",
	"ListUsers": func() string {
		var b strings.Builder
		for i := range accountUsers {
			_, _ = fmt.Fprintf(&b, "<member><UserName>user-%[1]d</UserName><UserId>AIDA%[1]d</UserId><Path>/m/</Path>"+
				"<Arn>arn:aws:iam::123456789012:user/m/user-%[1]d</Arn></member>", i)
		}
		return "<Users>" + b.String() + "</Users>"
	}(),
}

// What a stack has found IAM to allow is what a deployment is judged by, as serve
// and plan judge; what cannot be read is told, and the configured rates count.
func TestADeploymentGoesByTheRatesThatAreLearnt(t *testing.T) {
	const (
		slow      = "rotating 10 users every 10m takes 0.017 rotations per second, and CreateAccessKey allows 0.0075: 4 users will be overdue, by up to 6m40s"
		slower    = "CreateAccessKey allows 0.003"
		unread    = "as the stack has learnt them, cannot be read"
		allowance = "iam.rate says what you know IAM to allow"
	)
	now := time.Now()
	spoil := func(a *account) {
		a.item = bytes.ReplaceAll(a.item, []byte(`"sealed":{"B":"`), []byte(`"sealed":{"B":"AAAA`))
	}
	for _, tc := range []struct {
		name  string
		aws   *account
		rate  float64 // learnt; 0: nothing
		at    time.Time
		most  string // iam.rate
		spoil func(*account)
		code  int
		says  string // each of these, with | between
		not   string
	}{
		{"a stack that has users, and a rate far below iam.rate", &account{known: true}, 0.01, now, "10", nil, 0, "warning: " + slow + "|hint: raise rotate_every to", unread},
		{"a table that has none", &account{}, 0.01, now, "10", nil, 2, slow + "|raise rotate_every to", allowance},
		{"a rate above iam.rate, for a table that has no users", &account{}, 50, now, "0.004", nil, 2, slower + "|" + allowance, unread},
		{"a rate above iam.rate, for a stack that has users", &account{known: true}, 50, now, "0.004", nil, 0, "warning: |" + slower, unread},
		{"a rate that is high enough", &account{known: true}, 5, now, "10", nil, 0, "", "will be overdue|" + unread},
		{"a rate of the day before yesterday", &account{known: true}, 0.01, now.Add(-48 * time.Hour), "10", nil, 0, "", "will be overdue|" + unread},
		{"a rate that was learnt 15 hours ago, with which no process would begin", &account{known: true}, 0.01, now.Add(-15 * time.Hour), "10", nil, 0, "", "will be overdue|" + unread},
		{"nothing was learnt yet", &account{known: true}, 0, now, "10", nil, 0, "", "will be overdue|" + unread},
		{"no stack yet", &account{noStack: true}, 0, now, "10", nil, 0, "", "will be overdue|" + unread},
		{"no stack yet, and a low iam.rate", &account{noStack: true}, 0, now, "0.004", nil, 2, slower + "|" + allowance, unread},
		{
			"the item may not be read", &account{known: true, denied: map[string]bool{"GetItem": true}}, 0.01, now, "10", nil, 0,
			"warning: |" + unread + "|not for you|iam.rate counts|dynamodb:GetItem|kms:Decrypt", "will be overdue",
		},
		{
			"the key may not be used, and iam.rate is low", &account{known: true, denied: map[string]bool{"Decrypt": true}}, 0.01, now, "0.004", nil, 0,
			unread + "|not for you|dynamodb:GetItem|kms:Decrypt|" + slower, "",
		},
		{
			"the item is broken", &account{known: true}, 0.01, now, "10", spoil, 0,
			"warning: |" + unread + "|iam.rate counts", "will be overdue|dynamodb:GetItem",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, _, errs := testEnv(t, nil)
			e.Now = time.Now
			a := tc.aws
			a.start(t)
			if tc.rate > 0 {
				a.learnt(t, tc.rate, tc.at)
			}
			if tc.spoil != nil {
				tc.spoil(a)
			}
			err := e.deploy(t.Context(), deployOptions{
				common: common{File: os.DevNull, Flags: map[string]any{"users.path_prefix": "/m/", "iam.rate": tc.most}},
				Name:   "s", Admin: "a@example.com", APIUsers: []string{"*"}, Reserved: -1, LogDays: 90, DryRun: true, given: map[string]bool{},
			})
			said := errs.String()
			if err != nil {
				said += err.Error() + "\n" + hintFor(err)
			}
			if got := exitCode(err); got != tc.code {
				t.Errorf("deploy = %v, want exit code %d", err, tc.code)
			}
			for want := range strings.SplitSeq(tc.says, "|") {
				if !strings.Contains(said, want) {
					t.Errorf("deploy says\n%s, want it to say %q", said, want)
				}
			}
			for _, word := range strings.FieldsFunc(tc.not, func(r rune) bool { return r == '|' }) {
				if strings.Contains(said, word) {
					t.Errorf("deploy says\n%s, want no %q", said, word)
				}
			}
			if a.noStack && a.called["GetItem"] {
				t.Error("a table was asked although there is no stack")
			}
		})
	}
}
