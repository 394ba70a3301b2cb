// Package sessmtp derives the credentials of Amazon SES's SMTP endpoint, which
// end with the access key that they are made of.
package sessmtp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// Password returns the password that belongs to the access key in this region;
// the user name is the access key id. It is version 4 of the derivation in the
// SES developer guide, "Obtaining Amazon SES SMTP credentials".
func Password(secret, region string) string {
	k := []byte("AWS4" + secret)
	for _, part := range []string{"11111111", region, "ses", "aws4_request", "SendRawEmail"} {
		h := hmac.New(sha256.New, k)
		h.Write([]byte(part))
		k = h.Sum(nil)
	}
	return base64.StdEncoding.EncodeToString(append([]byte{0x04}, k...))
}

// IsRegion reports whether s may be a region's name: it becomes part of a host
// name.
func IsRegion(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-", r)
	})
}
