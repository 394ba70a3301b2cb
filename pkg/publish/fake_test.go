package publish_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/pkg/rotate"
)

const secretText = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

func pair(keyID string) rotate.Credential {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	return rotate.Credential{
		User: "ci", UserID: "AIDAX", KeyID: keyID, Secret: rotate.NewSecret(secretText + keyID),
		Created: at, Expiration: at.Add(12 * time.Minute),
	}
}

var errCrash = errors.New("connection lost")

// wire carries requests and can lose one on its way or its answer.
type wire struct {
	mu            sync.Mutex
	before, after bool // lose the next writing request, or its answer
	writes        func(*http.Request) bool
}

func (w *wire) Do(r *http.Request) (*http.Response, error) { return w.RoundTrip(r) }

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	before, after := w.before, w.after
	if w.writes == nil || w.writes(r) {
		w.before, w.after = false, false
	} else {
		before, after = false, false
	}
	w.mu.Unlock()
	if before {
		return nil, errCrash
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && after {
		_ = res.Body.Close()
		return nil, errCrash
	}
	return res, err
}

// version is one write that a fake took.
type version struct {
	token, text string
	at          float64
	made        time.Time
}

// fakeAWS is Secrets Manager and Parameter Store, as far as they are needed.
type fakeAWS struct {
	mu       sync.Mutex
	secrets  map[string][]version // the last one is current
	params   map[string][]version
	kinds    map[string]string
	deleted  string // a secret that waits for its deletion
	failWith string // error code for every write
	now      time.Time
	quota    int // versions of a secret less than a day old; 0: any number
	clock    float64
}

func (f *fakeAWS) start(t *testing.T) (aws.Config, *wire) {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	w := &wire{writes: func(r *http.Request) bool { return strings.Contains(r.Header.Get("X-Amz-Target"), ".Put") }}
	return aws.Config{
		Region: "eu-west-1", BaseEndpoint: &srv.URL, HTTPClient: w,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "own"}, nil
		}),
	}, w
}

func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("X-Amzn-Requestid", "r")
	var in struct{ SecretId, ClientRequestToken, SecretString, Name, Type, Value, KeyId string }
	raw, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(raw, &in); err != nil || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") {
		f.refuse(w, "SerializationException", "")
		return
	}
	f.clock++
	op := r.Header.Get("X-Amz-Target")
	if f.failWith != "" && strings.Contains(op, ".Put") {
		f.refuse(w, f.failWith, string(raw)) // repeats the request, secret and all
		return
	}
	if f.deleted != "" && in.SecretId == f.deleted {
		f.refuse(w, "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
		return
	}
	switch op {
	case "secretsmanager.GetSecretValue":
		vs := f.secrets[in.SecretId]
		if len(vs) == 0 {
			f.refuse(w, "ResourceNotFoundException", "")
			return
		}
		v := vs[len(vs)-1]
		answer(w, map[string]any{"SecretString": v.text, "CreatedDate": v.at})
	case "secretsmanager.PutSecretValue":
		vs, there := f.secrets[in.SecretId]
		if !there {
			f.refuse(w, "ResourceNotFoundException", "")
			return
		}
		for i, v := range vs {
			if v.token != in.ClientRequestToken {
				continue
			}
			switch {
			case v.text != in.SecretString:
				f.refuse(w, "ResourceExistsException", "")
			case i == len(vs)-1:
				answer(w, map[string]any{"VersionStages": []string{"AWSCURRENT"}})
			default:
				answer(w, map[string]any{"VersionStages": []string{}})
			}
			return
		}
		young := 0 // AWS removes older ones without a label by itself
		for _, v := range vs {
			if f.now.Sub(v.made) < 24*time.Hour {
				young++
			}
		}
		if f.quota > 0 && young >= f.quota {
			f.refuse(w, "LimitExceededException", "")
			return
		}
		f.secrets[in.SecretId] = append(vs, version{in.ClientRequestToken, in.SecretString, f.clock, f.now})
		answer(w, map[string]any{"VersionStages": []string{"AWSCURRENT"}})
	case "AmazonSSM.GetParameter":
		vs := f.params[in.Name]
		if len(vs) == 0 {
			f.refuse(w, "ParameterNotFound", "")
			return
		}
		answer(w, map[string]any{"Parameter": map[string]any{"Type": f.kinds[in.Name], "Value": vs[len(vs)-1].text}})
	case "AmazonSSM.PutParameter":
		if f.params == nil {
			f.params, f.kinds = map[string][]version{}, map[string]string{}
		}
		f.kinds[in.Name] = in.Type
		f.params[in.Name] = append(f.params[in.Name], version{text: in.Value})
		answer(w, map[string]any{"Version": len(f.params[in.Name])})
	default:
		f.refuse(w, "UnknownOperationException", "")
	}
}

func (f *fakeAWS) refuse(w http.ResponseWriter, code, message string) {
	w.WriteHeader(http.StatusBadRequest)
	answer(w, map[string]string{"__type": "com.amazonaws#" + code, "message": message})
}

func answer(w io.Writer, v any) { _ = json.NewEncoder(w).Encode(v) }
