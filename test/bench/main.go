// Command bench loads the built keyrot and compares it with its floor: a bare
// net/http handler that verifies one HS256 token and looks up a map. Both run
// as processes of their own, beside the load generator, in turns.
//
// With -soak it loads keyrot alone while keys rotate every 20 s, and fails on
// the first answer that is not a success or if memory keeps growing.
package main

import (
	"cmp"
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
	many := flag.Int("users", 0,
		"ask for so many users in turn, of a server in a process of this command (0: the sandbox's three, of the binary)")
	syncs := flag.String("sync", "second,always", "values of audit.sync")
	floor := flag.String("floor", "", "serve the floor on this address (used by the command itself)")
	serve := flag.String("serve", "", "serve -users on this address (used by the command itself)")
	flag.Parse()
	b := bench{bin: *bin, users: demoUsers, span: *span, rounds: *rounds, conns: *conns}
	if *many > 0 {
		b.bin, b.users = "", manyUsers(*many)
	}
	var err error
	switch {
	case *floor != "":
		err = serveFloor(ctx, *floor, b.users)
	case *serve != "":
		err = serveMany(ctx, *serve, *syncs, b.users)
	case *soak > 0:
		err = runSoak(ctx, *bin, *soak)
	default:
		for sync := range strings.SplitSeq(*syncs, ",") { // each with a floor of its own sitting
			fmt.Printf("audit.sync: %s\n", sync)
			if err = b.compare(ctx, sync); err != nil {
				break
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench says what is compared.
type bench struct {
	bin    string // none: this command serves
	users  []string
	span   time.Duration
	rounds int
	conns  string
}

func (b bench) start(ctx context.Context, sync string) (bare, keyrot *process, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	many := "0"
	if b.bin == "" {
		many = strconv.Itoa(len(b.users))
	}
	bare, err = start(ctx, nil, func(addr string) []string { return []string{self, "-floor", addr, "-users", many} })
	if err != nil {
		return nil, nil, err
	}
	if b.bin == "" {
		keyrot, err = start(ctx, nil, func(addr string) []string { return []string{self, "-serve", addr, "-users", many, "-sync", sync} })
	} else {
		keyrot, err = startKeyrot(ctx, b.bin, sync)
	}
	if err != nil {
		bare.stop()
		return nil, nil, err
	}
	return bare, keyrot, nil
}

func (b bench) compare(ctx context.Context, sync string) error {
	bare, keyrot, err := b.start(ctx, sync)
	if err != nil {
		return err
	}
	defer bare.stop()
	defer keyrot.stop()
	requests, err := keyrotRequests(ctx, keyrot, b.users)
	if err != nil {
		return err
	}
	bareRequests := floorRequests(bare.addr, b.users)
	fmt.Println("connections  floor req/s  keyrot req/s  ratio  floor p99  keyrot p99  ratio  floor CPU  keyrot CPU  of each answer")
	for text := range strings.SplitSeq(b.conns, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		var floors, ours []result
		for range max(1, b.rounds) + 1 {
			ra, err := load(ctx, bare, n, b.span, bareRequests)
			if err != nil {
				return fmt.Errorf("floor: %w", err)
			}
			rb, err := load(ctx, keyrot, n, b.span, requests)
			if err != nil {
				return fmt.Errorf("keyrot: %w", err)
			}
			floors, ours = append(floors, ra), append(ours, rb)
		}
		fa, fb := median(floors[1:]), median(ours[1:]) // the first round warms up
		fmt.Printf("%11d  %11.0f  %12.0f  %5.2f  %9s  %10s  %5.2f  %9s  %10s\n", n, fa.rate, fb.rate, fb.rate/fa.rate,
			fa.p99.Round(10*time.Microsecond), fb.p99.Round(10*time.Microsecond), float64(fb.p99)/float64(fa.p99),
			fa.cpu.Round(100*time.Nanosecond), fb.cpu.Round(100*time.Nanosecond))
	}
	return nil
}

// median returns the medians of all figures, each for itself.
func median(rs []result) result {
	at := func(less func(a, b result) int) result { return slices.SortedFunc(slices.Values(rs), less)[len(rs)/2] }
	return result{
		rate: at(func(a, b result) int { return cmp.Compare(a.rate, b.rate) }).rate,
		p99:  at(func(a, b result) int { return cmp.Compare(a.p99, b.p99) }).p99,
		cpu:  at(func(a, b result) int { return cmp.Compare(a.cpu, b.cpu) }).cpu,
	}
}
