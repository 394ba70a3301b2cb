package auth

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/internal/recent"
)

// maxSeen bounds the memory for verified tokens, some 400 bytes each; the oldest
// makes room.
const maxSeen = 1 << 15

// verified is what was found out about a token whose signature is good.
type verified struct {
	kid, subject, mark string
	from, exp          time.Time // from: when it was verified
}

// seen remembers verified tokens by their hash, so that the signature of a
// token that is used again is not computed again. Only the signature and the
// fixed claims are remembered: expiry, the signing key and the API key are
// looked at each time. The zero value is ready; safe for concurrent use.
type seen struct {
	mu     sync.RWMutex
	tokens recent.Map[[sha256.Size]byte, verified]
}

// get returns what is known of the token if it still is good at now.
func (s *seen) get(digest [sha256.Size]byte, keys []signingKey, now time.Time) (verified, bool) {
	s.mu.RLock()
	v, ok := s.tokens.Get(digest)
	s.mu.RUnlock()
	// A clock that stepped back must verify "not before" again.
	ok = ok && !now.Before(v.from) && now.Before(v.exp) &&
		slices.ContainsFunc(keys, func(k signingKey) bool { return k.ID == v.kid })
	return v, ok
}

func (s *seen) put(digest [sha256.Size]byte, v verified) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.Max = maxSeen // verifying again is all that it costs
	s.tokens.Put(digest, v)
}
