package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

type result struct {
	rate float64 // answers per second
	p99  time.Duration
	cpu  time.Duration // of the server, for each answer
}

// load sends the requests in turn over n connections, each waiting for its
// answer, and fails if any answer is not 200. It does as little as it can:
// what the generator uses, the server lacks.
func load(ctx context.Context, p *process, n int, span time.Duration, requests [][]byte) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	times := make([][]time.Duration, n)
	began, used := time.Now(), p.cpu()
	for i := range n {
		wg.Go(func() {
			t, err := one(ctx, p.addr, i, requests)
			times[i] = t
			if err != nil {
				failed.CompareAndSwap(nil, &err)
				cancel()
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if err := failed.Load(); err != nil {
		return result{}, *err
	}
	all := slices.Concat(times...)
	if len(all) == 0 {
		return result{}, errors.New("no answer at all")
	}
	slices.Sort(all)
	return result{float64(len(all)) / took.Seconds(), all[len(all)*99/100], (p.cpu() - used) / time.Duration(len(all))}, nil
}

func one(ctx context.Context, addr string, i int, requests [][]byte) ([]time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 8<<10)
	var times []time.Duration
	for ; ctx.Err() == nil; i++ {
		began := time.Now()
		if _, err := conn.Write(requests[i%len(requests)]); err != nil {
			return nil, err
		}
		if err := answer(r); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}

// answer reads one answer with a Content-Length.
func answer(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	said := string(bytes.TrimSpace(status))
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if !ok {
		body, _ := io.ReadAll(io.LimitReader(r, int64(length)))
		return fmt.Errorf("answer %s %s", said, body)
	}
	_, err = r.Discard(length)
	return err
}
