package getkey

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"

	"github.com/keyrot/keyrot/internal/getkey/entry"
	"github.com/keyrot/keyrot/internal/getkey/quick"
	"github.com/keyrot/keyrot/internal/trust"
	"github.com/keyrot/keyrot/pkg/api"
)

const lockPoll = 10 * time.Millisecond

// cache is the file of one user, server and caller. It is sealed with the
// caller's secret: who has only the file has nothing. Nothing in it is needed,
// so whatever cannot be read is as if it were not there, and a failure to write
// is no failure.
type cache struct {
	dir  string
	path string // in dir
	key  entry.Key
	what string
}

// cacheFor returns the cache of the user in the source's folder.
func (s *Source) cacheFor(user string) (*cache, error) {
	// An API key names its cache, too. Other secrets change often, and each
	// would leave a file behind.
	secret, named := s.APIKey, s.APIKey
	if s.Identity != nil {
		secret, named = s.Identity.Secret, "identity\x00"+s.Identity.Name
	}
	key, err := keyOf(secret)
	if err != nil {
		return nil, err
	}
	naming, err := keyOf(named)
	if err != nil {
		return nil, err
	}
	what := entry.What(s.Endpoint, user)
	return &cache{dir: s.CacheDir, path: quick.Join(s.CacheDir, naming.Name(what)), key: key, what: what}, nil
}

// keyOf returns the random bits in an API key that keyrot made, or a key that is
// derived from any other secret.
func keyOf(secret string) (entry.Key, error) {
	if k, ok := entry.FromAPIKey(secret); ok {
		return k, nil
	}
	raw, err := hkdf.Key(sha256.New, []byte(secret), nil, "keyrot get-key cache v3", len(entry.Key{}))
	if err != nil {
		return entry.Key{}, fmt.Errorf("deriving the cache's key: %w", err)
	}
	return entry.Key(raw), nil
}

// load returns what is in the file; nothing if it is not one of ours.
func (k *cache) load() (e Entry) {
	if !k.read(&e) {
		return Entry{}
	}
	return e
}

func (k *cache) read(e *Entry) bool {
	sealed, err := quick.ReadTrusted(k.path)
	return err == nil && k.key.Open(sealed, k.what, e)
}

// warm returns what needs not be asked for, or [errCold].
func (k *cache) warm(now time.Time) (api.Credential, error) {
	var e Entry
	if !k.read(&e) || !e.Fresh(now) {
		return api.Credential{}, errCold
	}
	return api.Credential(e.Credential), nil
}

// save replaces the file. It is not synced: after a crash of the machine the
// server is asked.
func (k *cache) save(e Entry) {
	dir, err := k.open()
	if err != nil {
		return
	}
	defer func() { _ = dir.Close() }()
	temp := ".new-" + rand.Text()[:12]
	f, err := dir.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	var nonce [24]byte
	_, _ = rand.Read(nonce[:]) // never fails, says its documentation
	_, err = f.Write(k.key.Seal(nonce, k.what, &e))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = dir.Rename(temp, quick.Base(k.path))
	}
	if err != nil {
		_ = dir.Remove(temp)
	}
}

// open returns the folder, made if it is missing. Nobody else can change it, or
// what is above it: a lock or a file could be made elsewhere otherwise.
func (k *cache) open() (*os.Root, error) {
	err := trust.Path(k.dir)
	if errors.Is(err, fs.ErrNotExist) { // what is there of it can be trusted
		if err = os.MkdirAll(k.dir, 0o700); err == nil {
			err = trust.Path(k.dir)
		}
	}
	if err != nil {
		return nil, err
	}
	return os.OpenRoot(k.dir)
}

func (k *cache) clear() { _ = os.Remove(k.path) }

// lock waits until no other process fetches the same credential. It gives up
// after wait: locked is false then, and if locks do not work here.
func (k *cache) lock(ctx context.Context, wait time.Duration) (unlock func(), locked bool) {
	dir, err := k.open()
	if err != nil {
		return func() {}, true // no cache, so nobody to wait for
	}
	_ = dir.Close()
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
