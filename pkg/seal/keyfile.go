package seal

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/hint"
)

// KeyText is the Source of a key given as text (standard base64 of 32 bytes),
// usually by an environment variable.
func KeyText(text string) Source {
	return func(_ context.Context, recorded string) (Sealer, error) {
		if strings.TrimSpace(text) == "" {
			return nil, ErrKeyMissing
		}
		l, err := fromText(text)
		if err != nil {
			return nil, err
		}
		if err := matches(l, recorded); err != nil {
			return nil, hint.Wrap(err, "give the key that this store was made with")
		}
		return l, nil
	}
}

// KeyFile is the Source of a key in a file that only its owner can read. The
// file is made on first use, atomically and never over another one; if the
// store has sealed content and the file is gone, that is ErrKeyMissing.
func KeyFile(path string) Source {
	return func(_ context.Context, recorded string) (Sealer, error) {
		l, err := readKeyFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			if recorded != "" {
				return nil, hint.Wrap(
					fmt.Errorf("key file %s does not exist, but the store is sealed with key %s: %w", path, recorded, ErrKeyMissing),
					"restore the file from a backup; no new key was made, because it could not open what is there")
			}
			if err := createKeyFile(path); err != nil {
				return nil, fmt.Errorf("making key file %s: %w", path, err)
			}
			l, err = readKeyFile(path)
		}
		if err != nil {
			return nil, fmt.Errorf("reading key file: %w", err)
		}
		if err := matches(l, recorded); err != nil {
			return nil, hint.Wrap(fmt.Errorf("key file %s: %w", path, err), "use the key file that this store was made with")
		}
		return l, nil
	}
}

func fromText(text string) (*Local, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, errors.New("encryption key is not base64") // the cause would quote it
	}
	return NewLocal(key)
}

func readKeyFile(path string) (*Local, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := disk.Private(path, info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return nil, err
	}
	l, err := fromText(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// createKeyFile makes the file with a new key unless it exists.
func createKeyFile(path string) error {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	err := disk.Create(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n"))
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was faster; its key is as good
	}
	return err
}
