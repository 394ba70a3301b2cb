// Command sweep measures how long keyrot takes to rotate many users, against an
// IAM in memory with a set latency and token buckets, and beside the least that
// any rotator could take: a client of the same SDK that makes the three calls of
// a rotation, as many at once as keyrot has workers.
//
// With the argument check it fails if a figure is beyond its limit. With -long it
// runs keyrot serve for so long instead.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var s sweep
	flag.StringVar(&s.bin, "keyrot", "bin/keyrot", "the binary")
	flag.IntVar(&s.users, "users", 500, "users")
	flag.IntVar(&s.many, "many", 20000, "users that are looked at after a start")
	flag.DurationVar(&s.latency, "latency", 50*time.Millisecond, "of each call")
	only := flag.String("only", "", "only rows whose name has this in it")
	long := flag.Duration("long", 0, "run serve with -users for so long at its default schedule, and tell how that went")
	sample := flag.Int("looks", 0, "list the keys of so many users and end (used by the command itself)")
	url := flag.String("iam", "", "URL of the IAM for -looks")
	flag.Parse()
	if *sample > 0 {
		if err := looks(ctx, *url, *sample); err != nil {
			fmt.Fprintln(os.Stderr, "sweep:", err)
			os.Exit(1)
		}
		return
	}
	if *long > 0 {
		if err := s.long(ctx, *long); err != nil {
			fmt.Fprintln(os.Stderr, "sweep:", err)
			os.Exit(1)
		}
		return
	}
	beyond := false
	for _, r := range rows {
		if !strings.Contains(r.name, *only) {
			continue
		}
		fmt.Println(r.name)
		figures, err := r.measure(ctx, s)
		if err != nil {
			fmt.Fprintf(os.Stderr, "sweep: %s: %v\n", r.name, err)
			os.Exit(1)
		}
		for _, f := range figures {
			fmt.Println(f)
			beyond = beyond || f.beyond()
		}
	}
	if beyond && slices.Contains(flag.Args(), "check") {
		fmt.Fprintln(os.Stderr, "sweep: a figure is beyond its limit")
		os.Exit(1)
	}
}

// sweep says what is measured.
type sweep struct {
	bin         string
	users, many int
	latency     time.Duration
}

// row is one line of the table of the page on performance.
type row struct {
	name    string
	measure func(context.Context, sweep) ([]figure, error)
}

// figure is what was measured, and how much of it is put up with.
type figure struct {
	what  string
	value float64
	limit float64 // at most; at least, if it is negative; 0 means none at all
	free  bool    // there is no limit
}

func most(what string, value, limit float64) figure {
	return figure{what: what, value: value, limit: limit}
}

func least(what string, value, limit float64) figure {
	return figure{what: what, value: value, limit: -limit}
}
func free(what string, value float64) figure { return figure{what: what, value: value, free: true} }

func (f figure) beyond() bool {
	switch {
	case f.free:
		return false
	case f.limit < 0:
		return f.value < -f.limit
	}
	return f.value > f.limit
}

func (f figure) String() string {
	text := fmt.Sprintf("  %-52s %9.2f", f.what, f.value)
	switch {
	case f.free:
		return text
	case f.limit < 0:
		text += fmt.Sprintf("  at least %g", -f.limit)
	default:
		text += fmt.Sprintf("  at most %g", f.limit)
	}
	if f.beyond() {
		text += "  BEYOND"
	}
	return text
}
