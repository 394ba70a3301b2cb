package callerid

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/keyrot/keyrot/internal/disk"
)

// How often an issuer's keys are read: when they are older than keysFresh, and
// for a kid that is not among them, but never twice within keysGap, whatever
// callers present. If they cannot be read they are used for keysStale.
const (
	keysFresh = 10 * time.Minute
	keysGap   = 30 * time.Second
	keysStale = 12 * time.Hour
	maxJWKS   = 256 << 10 // bytes
)

// errNoKey means that the issuer has no such key.
var errNoKey = errors.New("the issuer has no such key")

// keySet is an issuer's keys, read when they are needed.
type keySet struct {
	load func(context.Context) ([]byte, error)
	now  func() time.Time

	reading sync.Mutex // one reads, the others wait for the result

	mu    sync.Mutex // the fields below
	keys  map[string]verifyKey
	at    time.Time // when keys were read
	tried time.Time // when reading them was last begun
	err   error     // of that
}

// key returns the key of that id if it is meant for alg, errNoKey if there is
// none. Other errors mean that the keys could not be read.
func (s *keySet) key(ctx context.Context, kid, alg string) (crypto.PublicKey, error) {
	k, known, age := s.look(kid)
	if !known || age > keysFresh {
		err := s.read(ctx)
		if k, known, age = s.look(kid); age > keysStale {
			return nil, errors.Join(err, errors.New("no keys were read"))
		}
	}
	if !known || k.alg != alg {
		return nil, errNoKey
	}
	return k.key, nil
}

func (s *keySet) look(kid string) (k verifyKey, known bool, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, known = s.keys[kid]
	if age = s.now().Sub(s.at); age < 0 { // a clock that stepped back must not keep keys alive
		age = keysStale + 1
	}
	return k, known, age
}

// read reads the keys anew, unless somebody just did.
func (s *keySet) read(ctx context.Context) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.mu.Lock()
	since, err := s.now().Sub(s.tried), s.err
	s.mu.Unlock()
	if since >= 0 && since < keysGap {
		return err
	}
	began := s.now()
	ctx, cancel := detached(ctx)
	defer cancel()
	raw, err := s.load(ctx)
	var keys map[string]verifyKey
	if err == nil {
		keys, err = parseJWKS(raw)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.err = began, err
	if err == nil {
		s.keys, s.at = keys, began
	}
	return err
}

// source names where the keys are. Entries that share it share them.
func (o *OIDC) source() string { return o.JWKSFile + "\x00" + o.JWKSURL }

func (o *OIDC) loader(h *http.Client) func(context.Context) ([]byte, error) {
	if o.JWKSFile != "" {
		return func(context.Context) ([]byte, error) {
			if err := disk.Trusted(o.JWKSFile); err != nil {
				return nil, err
			}
			f, err := os.Open(o.JWKSFile)
			if err != nil {
				return nil, err
			}
			defer func() { _ = f.Close() }()
			return bounded(f, maxJWKS)
		}
	}
	return func(ctx context.Context) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.JWKSURL, nil)
		if err != nil {
			return nil, err
		}
		res, err := h.Do(req)
		if err != nil {
			return nil, err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answered %d", o.JWKSURL, res.StatusCode)
		}
		return bounded(res.Body, maxJWKS)
	}
}

// bounded reads all of r, which must not be longer than most.
func bounded(r io.Reader, most int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(raw)) > most {
		err = fmt.Errorf("longer than %d bytes", most)
	}
	return raw, err
}
