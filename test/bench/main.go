// Command bench loads the built keyrot and compares it with its floor: a bare
// net/http handler that verifies one HS256 token and looks up a map. Both run
// as processes of their own, beside the load generator, in turns.
//
// With -soak it loads keyrot alone while keys rotate every 20 s, and fails on
// the first answer that is not a success or if memory keeps growing.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bin := flag.String("keyrot", "bin/keyrot", "the binary")
	span := flag.Duration("for", 4*time.Second, "length of one measurement")
	rounds := flag.Int("rounds", 5, "measurements of each, in turns; the median counts")
	conns := flag.String("conns", "16,64", "connections")
	soak := flag.Duration("soak", 0, "load keyrot for so long while keys rotate")
	floor := flag.String("floor", "", "serve the floor on this address (used by the command itself)")
	flag.Parse()
	var err error
	switch {
	case *floor != "":
		err = serveFloor(ctx, *floor)
	case *soak > 0:
		err = runSoak(ctx, *bin, *soak)
	default:
		for _, sync := range []string{"second", "always"} { // each with a floor of its own sitting
			fmt.Printf("audit.sync: %s\n", sync)
			if err = compare(ctx, *bin, sync, *span, *rounds, *conns); err != nil {
				break
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context, bin, sync string, span time.Duration, rounds int, conns string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bare, err := start(ctx, nil, func(addr string) []string { return []string{self, "-floor", addr} })
	if err != nil {
		return err
	}
	defer bare.stop()
	keyrot, err := startKeyrot(ctx, bin, sync)
	if err != nil {
		return err
	}
	defer keyrot.stop()
	requests, err := keyrotRequests(ctx, keyrot)
	if err != nil {
		return err
	}
	bareRequests := [][]byte{floorRequest(bare.addr)}
	fmt.Println("connections  floor req/s  keyrot req/s  ratio  floor p99  keyrot p99  ratio")
	for text := range strings.SplitSeq(conns, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		var a, b []result
		for range max(1, rounds) + 1 {
			ra, err := load(ctx, bare.addr, n, span, bareRequests)
			if err != nil {
				return fmt.Errorf("floor: %w", err)
			}
			rb, err := load(ctx, keyrot.addr, n, span, requests)
			if err != nil {
				return fmt.Errorf("keyrot: %w", err)
			}
			a, b = append(a, ra), append(b, rb)
		}
		fa, fb := median(a[1:]), median(b[1:]) // the first round warms up
		fmt.Printf("%11d  %11.0f  %12.0f  %5.2f  %9s  %10s  %5.2f\n", n, fa.rate, fb.rate, fb.rate/fa.rate,
			fa.p99.Round(10*time.Microsecond), fb.p99.Round(10*time.Microsecond), float64(fb.p99)/float64(fa.p99))
	}
	return nil
}

// median returns the medians of both figures, each for itself.
func median(rs []result) result {
	rate, p99 := make([]float64, len(rs)), make([]time.Duration, len(rs))
	for i, r := range rs {
		rate[i], p99[i] = r.rate, r.p99
	}
	slices.Sort(rate)
	slices.Sort(p99)
	return result{rate: rate[len(rs)/2], p99: p99[len(rs)/2]}
}
