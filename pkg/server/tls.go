package server

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSFromFiles returns a configuration that serves the certificate in the two
// PEM files and notices, within 10 s, that they were renewed. A renewal that
// cannot be read leaves the old certificate in use.
func TLSFromFiles(certFile, keyFile string) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if err := c.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

const certCheckEvery = 10 * time.Second

type certificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	cert    *tls.Certificate
	changed time.Time // modification time of certFile as loaded
	checked time.Time
}

func (c *certificate) load() error {
	info, err := os.Stat(c.certFile)
	if err != nil {
		return fmt.Errorf("reading TLS certificate: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("reading TLS certificate: %w", err)
	}
	c.cert, c.changed, c.checked = &cert, info.ModTime(), time.Now()
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < certCheckEvery {
		return c.cert, nil
	}
	c.checked = time.Now()
	if info, err := os.Stat(c.certFile); err == nil && !info.ModTime().Equal(c.changed) {
		_ = c.load() // half-written files: the old certificate serves until the next look
	}
	return c.cert, nil
}
