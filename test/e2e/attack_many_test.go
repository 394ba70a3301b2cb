//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestManyAddressesLeaveRoom has twenty addresses hold all the connections that
// they get, half of them silent and half announcing forms that do not come. A
// client from another address, which opens a connection for each request, gets
// every answer.
func TestManyAddressesLeaveRoom(t *testing.T) {
	p, addr := serveAttacked(t, build(t))
	if err := probe(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var attackers sync.WaitGroup
	var opened atomic.Int64
	for a := range 20 {
		from := net.IPv4(127, 0, 0, byte(2+a))
		attackers.Go(func() { occupy(ctx, from, addr, a%2 == 0, &opened) })
	}
	for opened.Load() < 5000 && ctx.Err() == nil { // until there is nothing left to get: the server holds 4096
		sleep(ctx, 100*time.Millisecond)
	}
	var took []time.Duration
	for began := time.Now(); ctx.Err() == nil && (len(took) < 50 || time.Since(began) < 6*time.Second); {
		began := time.Now()
		if err := askForToken(t.Context(), addr); err != nil {
			t.Errorf("during the attack, after %d answers: %v", len(took), err)
			break
		}
		took = append(took, time.Since(began))
		sleep(ctx, 20*time.Millisecond)
	}
	cancel()
	attackers.Wait()
	if opened.Load() < 5000 {
		t.Errorf("only %d connections were opened: that is no attack", opened.Load())
	}
	if len(took) < 50 {
		t.Fatalf("%d answers, want 50", len(took))
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d connections of attackers, %d answers: half within %s, 99 of 100 within %s; %d MiB", opened.Load(), len(took), took[len(took)/2], p99, memory(t, p))
}

// occupy holds as many connections from one address as it gets, up to 600, and
// opens others in the place of those that the server closes.
func occupy(ctx context.Context, from net.IP, addr string, forms bool, opened *atomic.Int64) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: time.Second}
	var holders sync.WaitGroup
	defer holders.Wait()
	room := make(chan struct{}, 600)
	for n := 0; ctx.Err() == nil; {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			sleep(ctx, 20*time.Millisecond)
			continue
		}
		opened.Add(1)
		n++
		room <- struct{}{}
		holders.Go(func() {
			defer func() { <-room }()
			defer c.Close()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			if forms && n%30 == 1 { // handshakes cost the attacker's machine, which is ours
				s := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
				_, _ = fmt.Fprintf(s, "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\n")
			}
			_, _ = io.Copy(io.Discard, c)
		})
	}
}

// askForToken gets a token on a connection of its own.
func askForToken(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+"/generate-token", nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Api-Key", "attack-key-of-the-sandbox-only")
	res, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusTooManyRequests {
		return fmt.Errorf("a token was answered with %s", res.Status)
	}
	return nil
}
