package freeport

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
)

const each = 200

// TestMain makes a child of TestAddr print addresses and keep them until its
// input ends.
func TestMain(m *testing.M) {
	if os.Getenv("FREEPORT_CHILD") == "" {
		os.Exit(m.Run())
	}
	for range each {
		addr, err := Addr(context.Background())
		if err != nil {
			panic(err)
		}
		fmt.Println(addr)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestAddr(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), "FREEPORT_CHILD=1")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	note := func(addr string) {
		mu.Lock()
		defer mu.Unlock()
		if seen[addr] {
			t.Errorf("%s was chosen twice", addr)
		}
		seen[addr] = true
	}
	var wg sync.WaitGroup
	for range each {
		wg.Go(func() {
			addr, err := Addr(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			note(addr)
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			_ = l.Close()
		})
	}
	lines := bufio.NewScanner(out)
	for range each {
		if !lines.Scan() {
			t.Fatalf("the child ended: %v", lines.Err())
		}
		note(lines.Text())
	}
	wg.Wait()
	_ = in.Close()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}
