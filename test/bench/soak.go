package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const soakConns = 32

// runSoak loads keyrot while its keys rotate. Each stretch has a fresh token.
func runSoak(ctx context.Context, bin string, span time.Duration) error {
	p, err := startKeyrot(ctx, bin, "second", "--rotate-every", "20s", "--deactivate-after", "24s", "--delete-after", "30s")
	if err != nil {
		return err
	}
	defer p.stop()
	const stretch = 15 * time.Second
	keys := map[string]bool{}
	var answers, early, late float64
	n := max(2, int(span/stretch))
	for i := range n {
		token, err := p.token(ctx, apiKey)
		if err != nil {
			return err
		}
		var requests [][]byte
		for _, u := range demoUsers {
			requests = append(requests, keyrotRequest(p.addr, u, apiKey, token))
		}
		r, err := load(ctx, p, soakConns, stretch, requests)
		if err != nil {
			return err
		}
		answers += r.rate * stretch.Seconds()
		if err := noteKeys(ctx, p, keys); err != nil {
			return err
		}
		mem := p.memory()
		if i < (n+1)/2 {
			early = max(early, mem)
		}
		late = max(late, mem)
		fmt.Printf("%6s  %6.0f req/s  p99 %8s  %5.1f MiB  %d keys seen\n",
			time.Duration(i+1)*stretch, r.rate, r.p99.Round(10*time.Microsecond), mem, len(keys))
	}
	if len(keys) <= len(demoUsers) {
		return errors.New("no key rotated meanwhile")
	}
	if late > 1.5*early+16 {
		return fmt.Errorf("memory grew from %.0f MiB in the first half to %.0f MiB", early, late)
	}
	fmt.Printf("%.0f answers, no error, %d keys, at most %.1f MiB\n", answers, len(keys), late)
	return nil
}

func noteKeys(ctx context.Context, p *process, keys map[string]bool) error {
	token, err := p.token(ctx, apiKey)
	if err != nil {
		return err
	}
	for _, u := range demoUsers {
		body, err := p.call(ctx, http.MethodGet, "/active-key?username="+u, apiKey, token)
		if err != nil {
			return err
		}
		var c credential
		if err := json.Unmarshal(body, &c); err != nil {
			return err
		}
		keys[c.AccessKeyID] = true
	}
	return nil
}
