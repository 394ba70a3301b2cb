package getkey

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	"github.com/gofrs/flock"

	"github.com/keyrot/keyrot/pkg/api"
)

const (
	lockPoll  = 10 * time.Millisecond
	spare     = time.Second      // what a caller needs to use a credential
	clockSlip = 10 * time.Second // a clock set back by more makes the cache void
)

// cache is the file of one user, server and caller. It is sealed with a key
// derived from the caller's secret: who has only the file has nothing. Nothing in it
// is needed, so whatever cannot be read is as if it were not there, and a
// failure to write is no failure.
type cache struct {
	dir  string
	path string // in dir
	aead cipher.AEAD
	aad  []byte
}

// cacheFor returns the cache of the user in the source's folder.
func (s *Source) cacheFor(user string) (*cache, error) {
	what := s.Endpoint + "\x00" + user
	// An API key names its cache, too. Other secrets change often, and each
	// would leave a file behind.
	secret, named, purpose := s.APIKey, s.APIKey, "keyrot get-key name v1\x00" // #nosec G101 -- says what a key is derived for
	if s.Identity != nil {
		secret, named, purpose = s.Identity.Secret, s.Identity.Name, "keyrot get-key identity v1\x00" // #nosec G101 -- the same
	}
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "keyrot get-key cache v1", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the cache's key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("deriving the cache's key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("deriving the cache's key: %w", err)
	}
	name, err := hkdf.Key(sha256.New, []byte(named), nil, purpose+what, 16)
	if err != nil {
		return nil, fmt.Errorf("naming the cache: %w", err)
	}
	return &cache{dir: s.CacheDir, path: Join(s.CacheDir, hex.EncodeToString(name)), aead: aead, aad: []byte(what)}, nil
}

// load returns what is in the file; nothing if it is not one of ours.
func (k *cache) load() (e Entry) {
	if !k.read(&e) {
		return Entry{}
	}
	return e
}

func (k *cache) read(e *Entry) bool {
	sealed, err := readFile(k.path)
	if err != nil {
		return false
	}
	plain, err := k.aead.Open(sealed[:0], nil, sealed, k.aad)
	return err == nil && e.decode(plain) == nil
}

// warm returns what needs not be asked for, or [errCold].
func (k *cache) warm(now time.Time) (api.Credential, error) {
	var e Entry
	if !k.read(&e) || !e.fresh(now) {
		return api.Credential{}, errCold
	}
	return e.Credential, nil
}

// save replaces the file. It is not synced: after a crash of the machine the
// server is asked.
func (k *cache) save(e Entry) {
	f, err := os.CreateTemp(k.dir, ".new-*") // mode 0600
	if err != nil {
		return
	}
	_, err = f.Write(k.aead.Seal(nil, nil, e.Encode(), k.aad))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), k.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

func (k *cache) clear() { _ = os.Remove(k.path) }

// lock waits until no other process fetches the same credential. It gives up
// after wait: locked is false then, and if locks do not work here.
func (k *cache) lock(ctx context.Context, wait time.Duration) (unlock func(), locked bool) {
	if os.MkdirAll(k.dir, 0o700) != nil {
		return func() {}, true // no cache, so nobody to wait for
	}
	l := flock.New(k.path+".lock", flock.SetPermissions(0o600))
	unlock = func() { _ = l.Unlock() }
	if ok, err := l.TryLock(); ok || err != nil {
		return unlock, true
	}
	if wait == 0 {
		return unlock, false
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	ok, _ := l.TryLockContext(ctx, lockPoll)
	return unlock, ok
}

// CacheDir returns the folder of the cache: KEYROT_CACHE_DIR, or keyrot in the
// system's folder for caches, or "" if there is none.
func CacheDir(getenv func(string) string) string {
	if dir := getenv("KEYROT_CACHE_DIR"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return Join(dir, "keyrot")
}
