//go:build e2e

// Command gocaller calls S3 and STS with the SDK's default credentials until it
// has seen enough keys, or time is up.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

var credential = regexp.MustCompile(`Credential=(\w+)/`)

// noting remembers the keys that requests are signed with.
type noting struct {
	mu   sync.Mutex
	keys map[string]bool
	last string
}

func (n *noting) Do(r *http.Request) (*http.Response, error) {
	if m := credential.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		n.mu.Lock()
		n.keys[m[1]], n.last = true, m[1]
		n.mu.Unlock()
	}
	return http.DefaultClient.Do(r)
}

func main() {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		panic(err)
	}
	n := &noting{keys: map[string]bool{}, last: "-"}
	s := s3.NewFromConfig(cfg, func(o *s3.Options) { o.HTTPClient, o.Retryer = n, aws.NopRetryer{} })
	t := sts.NewFromConfig(cfg, func(o *sts.Options) { o.HTTPClient, o.Retryer = n, aws.NopRetryer{} })
	seconds, err := strconv.ParseFloat(os.Getenv("CALLER_SECONDS"), 64)
	if err != nil {
		panic(err)
	}
	enough, err := strconv.Atoi(os.Getenv("CALLER_KEYS"))
	if err != nil {
		panic(err)
	}
	calls, refused := 0, []string{}
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for ; time.Now().Before(end) && len(n.keys) < enough; time.Sleep(250 * time.Millisecond) {
		for _, call := range []func() error{
			func() error {
				_, err := s.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("demo")})
				return err
			},
			func() error { _, err := t.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); return err },
		} {
			calls++
			if err := call(); err != nil {
				refused = append(refused, fmt.Sprintf("%.3f %s %v", float64(time.Now().UnixMilli())/1000, n.last, err))
			}
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"calls": calls, "keys": len(n.keys), "refused": refused})
}
