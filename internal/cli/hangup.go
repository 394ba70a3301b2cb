package cli

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// ignoreHangup keeps SIGHUP from ending a daemon until stop is called:
// supervisors and log rotation send it. Nothing is read anew: files that may
// change are looked at by themselves.
func ignoreHangup(log *slog.Logger) (stop func()) {
	c, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(c, syscall.SIGHUP)
	go func() {
		defer close(ended)
		for range c {
			log.Info("SIGHUP is ignored: certificates, key files and the audit log are looked at by themselves; " +
				"restart keyrot to read its settings again")
		}
	}()
	return func() {
		signal.Stop(c)
		close(c)
		<-ended
	}
}

// endWithTerminal ends ctx when the terminal is closed that a person started the
// command in. Without one it is as [ignoreHangup].
func (e Env) endWithTerminal(ctx context.Context, log *slog.Logger) (context.Context, context.CancelFunc) {
	if in, ok := e.In.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		return signal.NotifyContext(ctx, syscall.SIGHUP)
	}
	return ctx, ignoreHangup(log)
}
