//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/keyrot/keyrot/pkg/server"
)

// serveAttacked starts the built binary on TLS, over the sandbox's AWS.
func serveAttacked(t *testing.T, env ...string) (p *Process, addr string) {
	t.Helper()
	ctx := t.Context()
	bin, err := BuildKeyrot(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	env = append([]string{"KEYROT_API_KEY=attack-key-of-the-sandbox-only", "KEYROT_LOG_LEVEL=error", "XDG_CONFIG_HOME=" + dir}, env...)
	p, err = start(ctx, filepath.Join(dir, "serve.log"), "", env, func(addr string) []string {
		return []string{filepath.Join(bin, "keyrot"), "serve", "--sandbox", "--listen", addr, "--tls-cert", cert, "--tls-key", key}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p, strings.TrimPrefix(p.URL, "http://")
}

func selfSigned(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// probe asks for /healthz on a connection of its own, as a load balancer does.
func probe(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // our own, on loopback
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/healthz", nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("/healthz answered %s", res.Status)
	}
	return nil
}

// TestHeaderTableRace lets clients without a credential change the size of the
// server's header table while it answers them (GO-2026-6617). Built by Go
// 1.26.8, the server would end within seconds, and therefore offers no HTTP/2.
func TestHeaderTableRace(t *testing.T) {
	p, addr := serveAttacked(t)
	first, err := dialH2(t.Context(), addr)
	if offered := err == nil; offered != server.SafeHTTP2(runtime.Version()) {
		t.Fatalf("built by %s, the server offers HTTP/2: %t (%v)", runtime.Version(), offered, err)
	}
	if first == nil {
		return
	}
	_ = first.conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	var answers atomic.Int64
	var sent sync.WaitGroup
	for range 8 {
		sent.Go(func() {
			for ctx.Err() == nil {
				raceOnce(ctx, addr, &answers)
			}
		})
	}
	sent.Wait()
	t.Logf("%d answers while header tables changed", answers.Load())
	select {
	case err := <-p.done:
		p.done <- err
		log, _ := os.ReadFile(p.Log)
		t.Fatalf("the server ended: %v\n%s", err, log[:min(len(log), 2000)])
	default:
	}
	if answers.Load() == 0 {
		t.Error("no request was answered: nothing was attacked")
	}
	if err := probe(t.Context(), addr); err != nil {
		t.Errorf("after the attack: %v", err)
	}
}

func raceOnce(ctx context.Context, addr string, answers *atomic.Int64) {
	c, err := dialH2(ctx, addr)
	if err != nil {
		return
	}
	defer c.conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	defer stop()
	answered := make(chan struct{}, 1000)
	go func() {
		defer close(answered)
		for {
			f, err := c.frames.ReadFrame()
			if err != nil {
				return
			}
			if f.Header().Flags.Has(http2.FlagDataEndStream) && f.Header().StreamID > 0 {
				answered <- struct{}{}
			}
		}
	}()
	for open := 0; ; {
		for ; open < 8; open++ {
			err = errors.Join(err, c.request("GET", "/login", 0, false))
			for i := range uint32(20) {
				err = errors.Join(err, c.tableSize(i%2*4096))
			}
		}
		if err != nil || c.out.Flush() != nil {
			return
		}
		if _, ok := <-answered; !ok {
			return
		}
		answers.Add(1)
		open--
	}
}
