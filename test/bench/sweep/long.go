package main

import (
	"context"
	"fmt"
	"time"

	"github.com/keyrot/keyrot/test/bench/cloud"
)

// long runs keyrot serve at its default schedule, and tells every minute how many
// users are overdue and how much memory and disk it takes.
func (s sweep) long(ctx context.Context, span time.Duration) error {
	c := cloud.New(s.users)
	c.PerSecond, c.Burst = 20, 40
	k, err := s.open(ctx, c)
	if err != nil {
		return err
	}
	defer k.close()
	d, err := k.serve(ctx)
	if err != nil {
		return err
	}
	defer d.stop()
	fmt.Println("minute  users  serving  overdue  RSS MiB  store MiB  audit MiB  CPU s  refused")
	for at, end := time.Now(), time.Now().Add(span); time.Now().Before(end) && ctx.Err() == nil; {
		sleep(ctx, time.Minute)
		h := d.health(ctx)
		fmt.Printf("%6.0f  %5d  %7d  %7d  %7.1f  %9.1f  %9.1f  %5.1f  %7d\n", time.Since(at).Minutes(), h.Users, h.Serving, h.Overdue,
			d.memory(), k.size("keyrot.db*"), k.size("audit*"), d.cpu(), k.refused())
	}
	for _, f := range k.perUser(s.users) {
		fmt.Println(f)
	}
	if n := d.health(ctx).Overdue; n > 0 {
		return fmt.Errorf("%d users are overdue\n%s", n, d.tail())
	}
	return nil
}
