package api

import (
	"fmt"
	"strings"
	"time"
)

// PathContainer is the prefix of the route in the SDKs' container-credentials
// protocol; the user's name follows.
const PathContainer = "/container-credentials/"

// Container is an answer in the SDKs' container-credentials protocol.
type Container struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string `json:"SecretAccessKey"` // #nosec G117 -- the point of the answer
	// Token is "" because a user's key has no session token: boto and
	// JavaScript refuse an answer without it. nil leaves it out: Java and Ruby
	// would sign an empty token. For Rust neither is right: it refuses the one
	// and signs the other.
	Token      *string   `json:"Token,omitempty"`
	Expiration time.Time `json:"Expiration"` // boto and JavaScript refuse an answer without it
}

// ContainerOf returns c in the words that the SDK with this User-Agent reads.
func ContainerOf(c Credential, userAgent string) Container {
	out := Container{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, Expiration: c.Expiration.UTC()}
	for _, sdk := range []string{"aws-sdk-java/", "Ruby", "aws-sdk-ruby"} { // Ruby's names only its HTTP client
		if strings.HasPrefix(userAgent, sdk) {
			return out
		}
	}
	out.Token = new("")
	return out
}

// Format implements fmt.Formatter for every verb: the key id only.
func (c Container) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "container credential (key %s)", ShortKey(c.AccessKeyID))
}
