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

func build(t *testing.T) (bin string) {
	t.Helper()
	bin, err := BuildKeyrot(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// serveAttacked starts the built binary on TLS, over the sandbox's AWS.
func serveAttacked(t *testing.T, bin string) (p *Process, addr string) {
	t.Helper()
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	env := []string{"KEYROT_API_KEY=attack-key-of-the-sandbox-only", "KEYROT_LOG_LEVEL=error", "XDG_CONFIG_HOME=" + dir}
	p, err := start(t.Context(), filepath.Join(dir, "serve.log"), "", env, func(addr string) []string {
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
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
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

// TestOneAddressCannotFillTheMemory holds 200 connections and sends 100
// requests on each, again and again, whose headers are long and whose bodies
// never come; then as many that ask for pages which they do not let through.
// The server must stay near the memory that it needs when idle, and answer
// probes.
func TestOneAddressCannotFillTheMemory(t *testing.T) {
	bin := build(t)
	for _, tc := range []struct {
		name, method, path string
		window             uint32 // bytes of an answer that the client takes
		padding            int    // bytes of header
		open               bool   // announces a body
	}{
		{"log-ins without a body, headers that are too long", "POST", "/login", 65535, 15_000, true},
		{"log-ins without a body", "POST", "/login", 65535, 11_000, true},
		{"tokens without a body", "POST", "/generate-token", 65535, 11_000, true},
		{"answers that nobody reads", "GET", "/login", 0, 11_000, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, addr := serveAttacked(t, bin)
			if err := probe(t.Context(), addr); err != nil {
				t.Fatal(err)
			}
			idle := memory(t, p)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var clients sync.WaitGroup
			var sent atomic.Int64
			for range 200 {
				clients.Go(func() {
					for ctx.Err() == nil {
						flood(ctx, addr, tc.method, tc.path, tc.padding, tc.window, tc.open, &sent)
					}
				})
			}
			peak, probes := idle, 0
			// It goes on until it was an attack; without HTTP/2 there is none.
			few := func() bool { return server.SafeHTTP2(runtime.Version()) && sent.Load() < 20_000 }
			for began := time.Now(); ctx.Err() == nil && (time.Since(began) < 6*time.Second || few()); {
				if err := probe(t.Context(), addr); err != nil {
					t.Fatalf("during the attack, after %d probes: %v", probes, err)
				}
				probes++
				peak = max(peak, memory(t, p))
			}
			cancel()
			clients.Wait()
			t.Logf("%d requests sent, %d probes answered: idle %d MiB, at most %d MiB", sent.Load(), probes, idle, peak)
			if peak > idle+256 {
				t.Errorf("the attack took the server from %d to %d MiB", idle, peak)
			}
			if probes == 0 || few() {
				t.Errorf("only %d requests were sent, and %d probes: that is no attack", sent.Load(), probes)
			}
		})
	}
}

// flood opens a connection and sends requests on it, without waiting for what
// becomes of them, until it is closed.
func flood(ctx context.Context, addr, method, path string, padding int, window uint32, open bool, sent *atomic.Int64) {
	c, err := dialH2(ctx, addr)
	if err != nil {
		return
	}
	defer c.conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	defer stop()
	go c.drain()
	if c.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}) != nil {
		return
	}
	for ctx.Err() == nil {
		for range 100 {
			if c.request(method, path, padding, open) != nil {
				return
			}
			sent.Add(1)
		}
		if c.out.Flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// memory returns the resident memory of the process, in MiB.
func memory(t *testing.T, p *Process) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(raw), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(after, &kib); err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// TestHeaderTableRace lets clients without a credential change the size of the
// server's header table while it answers them (GO-2026-6617). Built by Go
// 1.26.8, the server would end within seconds, and therefore offers no HTTP/2.
func TestHeaderTableRace(t *testing.T) {
	p, addr := serveAttacked(t, build(t))
	first, err := dialH2(t.Context(), addr)
	if offered := err == nil; offered != server.SafeHTTP2(runtime.Version()) {
		t.Fatalf("built by %s, the server offers HTTP/2: %t (%v)", runtime.Version(), offered, err)
	}
	if first == nil {
		return
	}
	_ = first.conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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
	for began := time.Now(); ctx.Err() == nil && (time.Since(began) < 8*time.Second || answers.Load() < 100); {
		sleep(ctx, 100*time.Millisecond)
	}
	cancel()
	sent.Wait()
	t.Logf("%d answers while header tables changed", answers.Load())
	select {
	case err := <-p.done:
		p.done <- err
		log, _ := os.ReadFile(p.Log)
		t.Fatalf("the server ended: %v\n%s", err, log[:min(len(log), 2000)])
	default:
	}
	if answers.Load() < 100 {
		t.Error("hardly a request was answered: nothing was attacked")
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
