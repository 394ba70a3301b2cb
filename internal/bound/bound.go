// Package bound has the HTTP client of every call to AWS. Each attempt has a
// bound in time, so that a connection whose other end is gone delays its caller
// and no more: the SDK then tries again on another connection. The SDK's own
// client waits for an answer for ever. It does not know what is asked.
package bound

import (
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// The bounds of one attempt, from dialing to the end of the answer.
const (
	Call   = 10 * time.Second // the largest answers are IAM's pages of 1,000 users
	Store  = 4 * time.Second  // an item or a page of the table, a data key: a save's 10 s have room for a second attempt
	Upload = 10 * time.Minute // the function's program, about 10 MiB
)

// A connection of HTTP/2 is shared and outlives a call that its bound ended. One
// that brings nothing for pingAfter is asked for a sign of life.
const (
	pingAfter = 5 * time.Second
	pingWait  = 5 * time.Second
)

// pinging has connections of HTTP/2 asked for signs of life.
func pinging(t *http.Transport) {
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWait}
}

// Transport returns net/http's own transport for clients that are not the SDK's,
// as far as it notices that a connection has died.
func Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // documented
	pinging(t)
	return t
}

// Client returns the SDK's client, with the bound Call for each attempt.
func Client() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTimeout(Call).WithTransportOptions(pinging)
}

// Within returns a client like c, with connections of its own and another bound.
// A client that is not the SDK's is returned as it is.
func Within(c aws.HTTPClient, bound time.Duration) aws.HTTPClient {
	b, ok := c.(*awshttp.BuildableClient)
	if !ok {
		return c
	}
	return b.WithTimeout(bound)
}
