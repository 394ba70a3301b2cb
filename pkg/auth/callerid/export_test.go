package callerid

import "time"

// Fingerprint is what the tokens of an entry are marked with.
func Fingerprint(i Identity) []byte { return i.fingerprint() }

// ParseSigned returns the region and what would be sent to its STS.
func ParseSigned(query string, now time.Time) (region, forwarded string, err error) {
	s, err := parseSigned(query, now)
	return s.region, s.query, err
}

// For the fuzzers and tables.
var (
	Like          = like
	ParseJWKS     = parseJWKS
	ParseIdentity = parseIdentity
	Canonical     = canonical
)
