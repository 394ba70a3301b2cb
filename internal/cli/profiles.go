package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof" // #nosec G108 -- the default mux, where it registers itself, is served nowhere
	"time"
)

// listenProfiles listens where profiles are taken; nil if nobody may take any.
func (s *system) listenProfiles(ctx context.Context) (net.Listener, error) {
	if s.pprof == "" {
		return nil, nil //nolint:nilnil // documented
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.pprof)
	if err != nil {
		return nil, usage(fmt.Errorf("server.pprof: %w", err), "choose another port, or leave server.pprof out")
	}
	s.rotator.Log.Info("anybody on this machine can take profiles of this process", "url", "http://"+ln.Addr().String()+"/debug/pprof/")
	return ln, nil
}

// serveProfiles serves Go's profiles until ctx ends. They hold names of
// functions and sizes, nothing of what the memory holds.
func serveProfiles(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	srv := &http.Server{Handler: onlyLocal(mux), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() }) // nobody waits for a profile of what ends
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving profiles: %w", err)
	}
	return nil
}

// onlyLocal refuses requests for other names than an address of this machine's:
// a page in a browser here may have its own name lead to 127.0.0.1.
func onlyLocal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil || !net.ParseIP(host).IsLoopback() {
			http.Error(w, "ask for it by its address, such as 127.0.0.1", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
