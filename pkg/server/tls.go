package server

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/keyrot/keyrot/internal/disk"
)

// TLSFiles are the PEM files of a TLS server.
type TLSFiles struct {
	Cert, Key string
	// ClientCA holds the authorities that a client's certificate must descend
	// from. Default none: clients need no certificate.
	ClientCA string
	// NoHTTP2 offers HTTP/1.1 only.
	NoHTTP2 bool
	Log     *slog.Logger     // default: discards
	Now     func() time.Time // default time.Now
}

// certCheckEvery is how often the files are looked at, at most.
const certCheckEvery = 10 * time.Second

// Config returns a configuration that serves what is in the files and
// notices, within 10 s, that they were renewed. A renewal that cannot be used,
// such as half-written files, leaves the old content in use and is looked at
// again.
func (f TLSFiles) Config() (*tls.Config, error) {
	if f.Now == nil {
		f.Now = time.Now
	}
	if f.Log == nil {
		f.Log = slog.New(slog.DiscardHandler)
	}
	w := &watched{TLSFiles: f}
	state, err := f.state()
	if err == nil {
		w.conf, err = f.load()
	}
	if err != nil {
		return nil, fmt.Errorf("reading TLS files: %w", err)
	}
	w.loaded, w.checked = state, f.Now()
	base := w.conf.Clone()
	base.GetConfigForClient = w.current
	return base, nil
}

// state shows that a file was changed, whatever its time says.
type state [3][sha256.Size]byte

func (f TLSFiles) state() (s state, err error) {
	for i, path := range [...]string{f.Cert, f.Key, f.ClientCA} {
		if path == "" {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return s, err
		}
		s[i] = sha256.Sum256(raw)
	}
	return s, nil
}

func (f TLSFiles) load() (*tls.Config, error) {
	pem, err := disk.ReadTrusted(f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := disk.ReadTrusted(f.Key)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(pem, key)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{
		MinVersion:   tls.VersionTLS12, // Go offers only suites with forward secrecy
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"h2", "http/1.1"},
		Time:         f.Now, // clients' certificates are judged by it
	}
	if f.NoHTTP2 {
		c.NextProtos = []string{"http/1.1"}
	}
	if f.ClientCA == "" {
		return c, nil
	}
	if pem, err = disk.ReadTrusted(f.ClientCA); err != nil {
		return nil, err
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New(f.ClientCA + " holds no certificate")
	}
	return c, nil
}

// watched is the content of files that may be renewed.
type watched struct {
	TLSFiles

	mu      sync.Mutex
	conf    *tls.Config
	loaded  state
	checked time.Time
}

func (w *watched) current(*tls.ClientHelloInfo) (*tls.Config, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.Now()
	if d := now.Sub(w.checked); d >= 0 && d < certCheckEvery {
		return w.conf, nil
	}
	w.checked = now
	s, err := w.state()
	if err == nil && s == w.loaded {
		return w.conf, nil
	}
	var conf *tls.Config
	if err == nil {
		conf, err = w.load()
	}
	if err != nil {
		w.Log.Warn("the renewed TLS files cannot be used, the old content stays", "err", err)
		return w.conf, nil
	}
	w.conf, w.loaded = conf, s
	w.Log.Info("TLS files were read again")
	return conf, nil
}
