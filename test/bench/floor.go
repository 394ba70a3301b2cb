package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// floorSecret signs the floor's one token. It protects nothing.
var floorSecret = []byte("0123456789abcdef0123456789abcdef") //nolint:gochecknoglobals // a constant

// credential is an answer of the size that keyrot's has.
type credential struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string `json:"SecretAccessKey"` // #nosec G117 -- an example
	Expiration      time.Time
	CreateDate      time.Time
	UserName        string
}

// serveFloor answers GET /active-key with what a map holds, after verifying
// an HS256 token: no API key, no permission, no record. With logged, a value of
// audit.sync, it keeps that promise before it answers.
func serveFloor(ctx context.Context, addr string, users []string, logged string) error {
	promises, end, err := promisesOf(ctx, logged)
	if err != nil {
		return err
	}
	defer end()
	var mu sync.RWMutex
	creds := map[string]credential{}
	for _, user := range users {
		creds[user] = credential{
			AccessKeyID:     "AKIAIOSFODNN7EXAMPLE",
			SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", // #nosec G101 -- AWS's documented example
			Expiration:      time.Now().Add(time.Hour), CreateDate: time.Now(), UserName: user,
		}
	}
	line := bytes.Repeat([]byte("x"), 400) // as long as one of keyrot's
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(),
		jwt.WithIssuer("keyrot"), jwt.WithAudience("keyrot-api"))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return
		}
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		_, err := parser.ParseWithClaims(token, &jwt.RegisteredClaims{}, func(*jwt.Token) (any, error) { return floorSecret, nil })
		mu.RLock()
		c, ok := creds[r.URL.Query().Get("username")]
		mu.RUnlock()
		if err != nil || !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		for _, p := range promises {
			if err := p.join(line); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(c)
	})
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	hs := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	context.AfterFunc(ctx, func() { _ = hs.Close() })
	return hs.Serve(ln)
}

func floorRequests(addr string, users []string) (out [][]byte) {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Issuer: "keyrot", Audience: jwt.ClaimStrings{"keyrot-api"}, Subject: "bench", ID: "bench",
		ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)), IssuedAt: jwt.NewNumericDate(time.Now()),
	}).SignedString(floorSecret)
	if err != nil {
		panic(err) // the key has the right type
	}
	for _, u := range users {
		out = append(out, fmt.Appendf(nil,
			"GET /active-key?username=%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", u, addr, token))
	}
	return out
}
