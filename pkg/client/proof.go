package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Proof returns a header that proves to the server who asks. now is the time by
// the server's clock, as far as it is known, for what is dated.
type Proof func(ctx context.Context, now time.Time) (header, value string, err error)

const maxToken = 8 << 10 // bytes, as the server takes them

// OIDCFile proves it by the OIDC token in a file, such as the projected token
// of a Kubernetes service account. The file is read at every use, because the
// platform replaces its content.
func OIDCFile(path string) Proof {
	return func(context.Context, time.Time) (header, value string, err error) {
		token, err := readToken(path)
		return "Authorization", "Bearer " + token, err
	}
}

// readToken returns the one token in a file.
func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the OIDC token: %w", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("reading the OIDC token: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if strings.Count(token, ".") != 2 || strings.ContainsAny(token, " \t\r\n") || len(raw) > maxToken {
		return "", errors.New("reading the OIDC token: " + path + " does not hold one token")
	}
	return token, nil
}
