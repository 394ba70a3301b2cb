package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// interruption is the signal that ended a command. It is the cause of its
// context's end.
type interruption struct{ syscall.Signal }

func (i interruption) Error() string {
	if i.Signal == syscall.SIGTERM {
		return "terminated"
	}
	return "interrupted"
}

// code is the exit code, as shells have it for a program that a signal ended.
func (i interruption) code() int { return 128 + int(i.Signal) }

// interruptible returns a context that ends with SIGINT or SIGTERM. A second
// signal ends the process at once.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			own, _ := s.(syscall.Signal)
			cancel(interruption{own})
		case <-ctx.Done():
		}
		signal.Stop(signals)
	}()
	return ctx, func() { cancel(nil) }
}

// cut is the error of a command that a signal ended before it was done.
type cut struct {
	by   interruption
	left string // what is not done, and what to do about it; "": nothing was begun
}

func (c *cut) Error() string {
	if c.left == "" {
		return c.by.Error()
	}
	return c.by.Error() + ", " + c.left
}

// cutShort says what a command leaves undone, if a signal ended it and err does not
// say so already. Otherwise, and for nothing but the end of its context, it returns
// err.
func cutShort(ctx context.Context, err error, format string, args ...any) error {
	by, ok := errors.AsType[interruption](context.Cause(ctx))
	var told *cut
	if err == nil || !ok || errors.As(err, &told) {
		return err
	}
	return &cut{by, fmt.Sprintf(format, args...)}
}

// toldToEnd is the result of a daemon: being told to end, also while it starts, is
// no failure.
func toldToEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// ended returns what is to be said about a command that ended with err: that a
// signal did it, if one did.
func ended(ctx context.Context, err error) error {
	by, ok := errors.AsType[interruption](context.Cause(ctx))
	var child childError
	var told *cut
	switch {
	case err == nil, !ok, errors.As(err, &child):
		return err
	case errors.As(err, &told):
		return told
	case errors.Is(err, context.Canceled):
		return &cut{by: by}
	}
	return &marked{err, by}
}
