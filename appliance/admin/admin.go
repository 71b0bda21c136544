// Package admin answers operators and their tools over HTTP: /metrics, /healthz,
// /readyz, on a box that was flashed /firmware and /log, and a page at / that lists them.
//
// It owns the HTTP server and its limits. It measures nothing itself, and changes
// nothing but the firmware, for who has the password: what it shows comes from the
// registry, the parts and the box handed to New. Run is called once; the functions of
// parts and box are called from the goroutines of requests.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Part is something that has to work before the appliance is of use.
type Part struct {
	Name  string
	Ready func() error // nil when it is; must not block
	// CaughtUp is nil when it also has what others rely on it for; must not block. A part
	// without one has nothing to catch up.
	CaughtUp func() error
}

// Limits of what a client may cost. No request but a firmware update has a body that
// anyone reads.
const (
	readTimeout    = 5 * time.Second  // for the whole request
	writeTimeout   = 30 * time.Second // for the whole answer
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
	maxScrapes     = 4 // of /metrics at one time
	drainTimeout   = 2 * time.Second
)

// Server is the admin port.
type Server struct {
	ln   net.Listener
	http *http.Server
}

// New serves what is in reg, to which it adds the Go runtime's and the process's
// own collectors, the state of parts, and what box has. It takes over ln, which is
// closed when Run returns.
func New(ln net.Listener, parts []Part, box Box, log *slog.Logger, reg *prometheus.Registry) (*Server, error) {
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
	}
	return &Server{ln: ln, http: &http.Server{
		Handler:        handler(parts, box, log, reg),
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what a client does wrong
	}}, nil
}

// Run serves until ctx is done, then lets requests that are under way finish for
// a moment.
func (s *Server) Run(ctx context.Context) error {
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if err := s.http.Shutdown(ctx); err != nil {
			s.http.Close() // those that did not finish; there is nothing to lose
		}
		drained <- nil
	})
	err := s.http.Serve(s.ln)
	if stop() || !errors.Is(err, http.ErrServerClosed) { // it ended by itself
		s.http.Close()
		return fmt.Errorf("admin: %w", err)
	}
	return <-drained
}

// Close gives the port back when Run is not going to be called.
func (s *Server) Close() error { return s.ln.Close() }
