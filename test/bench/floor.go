package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
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
// an HS256 token: no API key, no permission, no record. With logged it has
// synced a line to a file before it answers; requests side by side share a sync.
func serveFloor(ctx context.Context, addr string, users []string, logged bool) error {
	var log *syncedLog
	if logged {
		f, err := os.CreateTemp("", "floor-")
		if err != nil {
			return err
		}
		defer func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }()
		log = &syncedLog{file: f, joining: &lines{}}
	}
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
		if log != nil && log.append(line) != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
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

// syncedLog is a file whose lines are on the disk when append returns.
type syncedLog struct {
	turn    sync.Mutex // held by whoever writes
	file    *os.File
	mu      sync.Mutex
	joining *lines
}

// lines are what one write and one sync take to the disk.
type lines struct {
	text []byte
	done bool
	err  error
}

func (l *syncedLog) append(line []byte) error {
	l.mu.Lock()
	b := l.joining
	b.text = append(b.text, line...)
	l.mu.Unlock()
	l.turn.Lock()
	defer l.turn.Unlock()
	if b.done {
		return b.err
	}
	l.mu.Lock()
	l.joining = &lines{}
	l.mu.Unlock()
	_, err := l.file.Write(b.text)
	b.err, b.done = errors.Join(err, l.file.Sync()), true
	return b.err
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
