// Command bench loads the built keyrot, while keys rotate, and compares it with
// two floors: a bare net/http handler that verifies one HS256 token and looks up
// a map, and the same handler with what keyrot promises before it answers. All
// run as processes of their own, beside the load generator, in turns.
//
//	bench [flags] [check]
//
// With check it fails if keyrot is further from its floors than it may be.
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
	"strconv"
	"strings"
	"time"

	"github.com/keyrot/keyrot/test/bench/cloud"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bin := flag.String("keyrot", "bin/keyrot", "the binary")
	span := flag.Duration("for", 4*time.Second, "length of one measurement")
	rounds := flag.Int("rounds", 5, "measurements of each, in turns; the median counts")
	conns := flag.String("conns", "1,16,64,256", "connections")
	users := flag.String("users", "5,5000", "users that are asked for in turn")
	callers := flag.Int("callers", 50, "API keys that ask for them")
	syncs := flag.String("sync", "second,always", "values of audit.sync")
	pprof := flag.String("pprof", "", "server.pprof of keyrot, to take profiles meanwhile")
	soak := flag.Duration("soak", 0, "load keyrot for so long while keys rotate")
	floor := flag.String("floor", "", "serve the floor on this address (used by the command itself)")
	logged := flag.String("logged", "", "what the floor promises (used by the command itself)")
	flag.Parse()
	var err error
	switch {
	case *floor != "":
		var n []int
		if n, err = numbers(*users); err == nil {
			err = serveFloor(ctx, *floor, cloud.New(n[0]).Names(), *logged)
		}
	case *soak > 0:
		err = runSoak(ctx, *bin, *soak)
	default:
		b := bench{bin: *bin, callers: *callers, span: *span, rounds: *rounds, pprof: *pprof, check: flag.Arg(0) == "check"}
		if b.conns, err = numbers(*conns); err == nil {
			err = b.all(ctx, *users, *syncs)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func numbers(text string) (out []int, err error) {
	for t := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(t)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}
