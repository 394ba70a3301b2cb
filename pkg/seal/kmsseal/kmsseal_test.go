package kmsseal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/seal"
)

// fakeKMS keeps data keys under their wrapped form.
type fakeKMS struct {
	mu       sync.Mutex
	keys     map[string]wrapped
	made     int
	opened   int
	fault    error
	keyBytes int
}

type wrapped struct {
	plain   []byte
	context map[string]string
	key     string
}

func refusal(code string) error { return &smithy.GenericAPIError{Code: code, Message: "no"} }

func (f *fakeKMS) api() API {
	return API{
		GenerateDataKey: func(ctx context.Context, in *kms.GenerateDataKeyInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if err := errors.Join(ctx.Err(), f.fault); err != nil {
				return nil, err
			}
			f.made++
			w := wrapped{plain: make([]byte, f.keyBytes), context: maps.Clone(in.EncryptionContext), key: *in.KeyId}
			_, _ = rand.Read(w.plain)
			blob := fmt.Sprintf("wrapped-%d", len(f.keys))
			f.keys[blob] = w
			return &kms.GenerateDataKeyOutput{CiphertextBlob: []byte(blob), KeyId: aws.String("arn:" + *in.KeyId), Plaintext: bytes.Clone(w.plain)}, nil
		},
		Decrypt: func(ctx context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if err := errors.Join(ctx.Err(), f.fault); err != nil {
				return nil, err
			}
			f.opened++
			w, ok := f.keys[string(in.CiphertextBlob)]
			switch {
			case !ok || !maps.Equal(w.context, in.EncryptionContext):
				return nil, refusal("InvalidCiphertextException")
			case w.key != *in.KeyId:
				return nil, refusal("IncorrectKeyException")
			}
			return &kms.DecryptOutput{Plaintext: bytes.Clone(w.plain)}, nil
		},
	}
}

func newFake() *fakeKMS { return &fakeKMS{keys: map[string]wrapped{}, keyBytes: 32} }

// about takes the part before the slash as the context.
func about(aad []byte) map[string]string {
	user, _, _ := strings.Cut(string(aad), "/")
	return map[string]string{"user": user}
}

func newSealer(f *fakeKMS) *Sealer { return &Sealer{API: f.api(), Key: "k1", Context: about} }

func mustSeal(t *testing.T, s *Sealer, plain, aad string) []byte {
	t.Helper()
	b, err := s.Seal(t.Context(), []byte(plain), []byte(aad))
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	return b
}

func TestSealOpen(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := newSealer(f)
	sealed := mustSeal(t, s, "secret", "ann/AKIA1")
	if bytes.Contains(sealed, []byte("secret")) {
		t.Error("the envelope holds the plaintext")
	}
	fresh := newSealer(f) // another process, which has nothing in memory
	if got, err := fresh.Open(t.Context(), sealed, []byte("ann/AKIA1")); err != nil || string(got) != "secret" {
		t.Errorf("Open = %q, %v", got, err)
	}
	changed := func(i int) []byte {
		c := bytes.Clone(sealed)
		c[i] ^= 1
		return c
	}
	other := newSealer(f)
	other.Key = "k2"
	for _, c := range []struct {
		name   string
		s      *Sealer
		sealed []byte
		aad    string
		want   error
	}{
		{"another user", s, sealed, "bob/AKIA1", seal.ErrWrongKey},
		{"another key of the user", s, sealed, "ann/AKIA2", seal.ErrWrongKey},
		{"another KMS key", other, sealed, "ann/AKIA1", seal.ErrWrongKey},
		{"changed ciphertext", s, changed(len(sealed) - 1), "ann/AKIA1", seal.ErrWrongKey},
		{"changed key id", s, changed(3), "ann/AKIA1", seal.ErrWrongKey},
		{"changed wrapped key", s, changed(2 + len("arn:k1") + 2), "ann/AKIA1", seal.ErrWrongKey},
		{"another version", s, changed(0), "ann/AKIA1", seal.ErrMalformed},
		{"empty", s, nil, "", seal.ErrMalformed},
		{"cut in the key id", s, sealed[:4], "", seal.ErrMalformed},
		{"cut in the wrapped key", s, sealed[:12], "", seal.ErrMalformed},
	} {
		if got, err := c.s.Open(t.Context(), c.sealed, []byte(c.aad)); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: Open = %q, %v, want %v", c.name, got, err, c.want)
		}
	}
	if s.KeyID() != "k1" {
		t.Errorf("KeyID = %q", s.KeyID())
	}
}

func TestDataKeysAreShared(t *testing.T) {
	t.Parallel()
	f := newFake()
	now := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	s := newSealer(f)
	s.Now, s.MaxUses, s.MaxAge = func() time.Time { return now }, 3, 20*time.Minute
	want := func(when string, made, opened int) {
		t.Helper()
		if f.made != made || f.opened != opened {
			t.Errorf("%s: %d data keys made and %d opened, want %d and %d", when, f.made, f.opened, made, opened)
		}
	}
	first := mustSeal(t, s, "a", "ann/1")
	mustSeal(t, s, "a", "ann/2")
	mustSeal(t, s, "a", "ann/3")
	want("three values of one user", 1, 0)
	mustSeal(t, s, "a", "ann/4")
	want("one more than MaxUses", 2, 0)
	mustSeal(t, s, "a", "bob/1")
	want("another user", 3, 0)
	now = now.Add(15 * time.Minute)
	mustSeal(t, s, "a", "bob/2")
	want("after three quarters of MaxAge", 4, 0)
	if _, err := s.Open(t.Context(), first, []byte("ann/1")); err != nil {
		t.Fatal(err)
	}
	want("opening after three quarters of MaxAge", 4, 0)
	now = now.Add(5 * time.Minute)
	for range 3 {
		if _, err := s.Open(t.Context(), first, []byte("ann/1")); err != nil {
			t.Fatal(err)
		}
	}
	want("opening an old value three times", 4, 1)
	now = now.Add(20 * time.Minute)
	if _, err := s.Open(t.Context(), first, []byte("ann/1")); err != nil {
		t.Fatal(err)
	}
	want("opening it after MaxAge", 4, 2)
	if s.sealing.Len() != 0 || s.opening.Len() != 1 {
		t.Errorf("%d and %d data keys are in memory, want none that is too old and the one just opened", s.sealing.Len(), s.opening.Len())
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	s := newSealer(newFake())
	s.MaxKeys = 5
	for i := range 20 {
		aad := fmt.Sprintf("u%d/1", i)
		if _, err := s.Open(t.Context(), mustSeal(t, s, "a", aad), []byte(aad)); err != nil {
			t.Fatal(err)
		}
	}
	if s.sealing.Len() > 5 || s.opening.Len() > 5 {
		t.Errorf("%d and %d data keys in memory, want at most 5 each", s.sealing.Len(), s.opening.Len())
	}
}

// Users that are saved in turn, every 5 minutes: each costs a call now and then,
// however many they are.
func TestFiveThousandUsersCostNoMoreCallsEach(t *testing.T) {
	t.Parallel()
	for _, users := range []int{50, 5000} {
		f, now := newFake(), time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
		s := newSealer(f)
		s.Now = func() time.Time { return now }
		sealed := make([][]byte, users)
		const rotations = 6 // of 10 minutes
		for range 2 * rotations {
			for i := range users {
				aad := fmt.Sprintf("u%d/1", i)
				if sealed[i] != nil {
					if _, err := s.Open(t.Context(), sealed[i], []byte(aad)); err != nil {
						t.Fatal(err)
					}
				}
				sealed[i] = mustSeal(t, s, "a", aad)
				now = now.Add(5 * time.Minute / time.Duration(users))
			}
		}
		if each := float64(f.made+f.opened) / float64(users*rotations); each > 0.7 {
			t.Errorf("%d users: %.2f calls of KMS each rotation, want one for 15 minutes", users, each)
		}
	}
}

// One more user than there is room for costs that user a call, not all others.
func TestTheOldestKeyMakesRoom(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := newSealer(f)
	s.MaxKeys = 100
	for i := range 101 {
		mustSeal(t, s, "a", fmt.Sprintf("u%d/1", i))
	}
	before := f.made
	for i := 100; i > 0; i-- {
		mustSeal(t, s, "b", fmt.Sprintf("u%d/1", i))
	}
	if f.made != before {
		t.Errorf("%d of the 100 newest data keys were forgotten", f.made-before)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := newSealer(newFake())
	s.MaxUses = 2
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			aad := []byte(fmt.Sprintf("u%d/1", i%4))
			b, err := s.Seal(t.Context(), []byte("x"), aad)
			if err == nil {
				_, err = s.Open(t.Context(), b, aad)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestErrors(t *testing.T) {
	t.Parallel()
	f := newFake()
	sealed := mustSeal(t, newSealer(f), "secret", "ann/1")
	for code, want := range map[string]error{
		"NotFoundException":        seal.ErrKeyMissing,
		"DisabledException":        seal.ErrKeyMissing,
		"KMSInvalidStateException": seal.ErrKeyMissing,
		"AccessDeniedException":    ErrDenied,
		"ThrottlingException":      nil,
	} {
		f.fault = refusal(code)
		s := newSealer(f)
		_, sealErr := s.Seal(t.Context(), nil, []byte("ann/1"))
		_, openErr := s.Open(t.Context(), sealed, []byte("ann/1"))
		for _, err := range []error{sealErr, openErr} {
			if _, foreign := errors.AsType[smithy.APIError](err); err == nil || foreign || want != nil && !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v and no error of the SDK", code, err, want)
			}
			if got := hint.Of(err); (got != "") != (want != nil) {
				t.Errorf("%s: hint %q", code, got)
			}
		}
	}
	f.fault = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newSealer(f).Seal(ctx, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Seal with a cancelled context = %v", err)
	}
	f.keyBytes = 16
	if _, err := newSealer(f).Seal(t.Context(), nil, []byte("x")); err == nil {
		t.Error("a data key of 16 bytes was accepted")
	}
	if api := NewAPI(aws.Config{Region: "us-east-1"}); api.Decrypt == nil || api.GenerateDataKey == nil {
		t.Error("a func is missing")
	}
}

func TestContextNames(t *testing.T) {
	t.Parallel()
	a := flat(map[string]string{"a": "b", "c": "d"})
	for _, m := range []map[string]string{nil, {"a": "b"}, {"a": "bc", "": "d"}, {"a": "b1:c1:d"}, {"ab": "", "c": "d"}} {
		if flat(m) == a {
			t.Errorf("%v has the name of another context", m)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := newFake()
	s := newSealer(k)
	good, err := s.Seal(f.Context(), []byte("secret"), []byte("ann/1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := s.Open(t.Context(), b, []byte("ann/1"))
		if err == nil && string(got) != "secret" {
			t.Errorf("Open(%x) = %q", b, got)
		}
		if err != nil && !errors.Is(err, seal.ErrWrongKey) && !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("Open(%x) = %v", b, err)
		}
	})
}
