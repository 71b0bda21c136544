// Package server owns the Kafka listener and its connections: it reads frames
// within limits, hands each to a Handler, and writes the answers in the order in
// which the requests came. It knows no request by name and reads nothing of a
// frame behind its API key and version.
//
// Each connection has two goroutines. The reader takes frames off the connection
// and starts each request; the writer finishes them in the same order. So what a
// request must wait for (its records' sync, new records for a long poll) does not
// keep the next from being started, and the produce requests that one client sends
// ahead share one sync.
//
// What all connections hold together is bounded: frames in progress by two
// budgets, frames of one connection by its queue, the number of connections by a
// limit. A client for whose frame there is no room waits: its bytes stay in the
// network. An idle connection holds no buffer.
//
// Sizes are in bytes.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
)

// Config bounds what a Server takes on.
type Config struct {
	MaxConnections int
	ProduceBytes   int64         // frames of pipelined requests that are being read or answered
	RequestBytes   int64         // other frames longer than freeBytes, likewise
	IdleTimeout    time.Duration // a connection without a request for so long is closed
	StallTimeout   time.Duration // so is one that neither takes nor sends anything in the middle of a frame
	Grace          time.Duration // how long started requests may take to finish when the server stops
}

// DefaultConfig suits a gateway with 512 MB.
func DefaultConfig() Config {
	return Config{
		MaxConnections: 1000,
		ProduceBytes:   32 << 20,
		RequestBytes:   4 << 20,
		IdleTimeout:    10 * time.Minute,
		StallTimeout:   30 * time.Second,
		Grace:          5 * time.Second,
	}
}

// Server serves one listener.
type Server struct {
	cfg     Config
	ln      net.Listener
	handler Handler
	log     *slog.Logger
	metrics metrics

	produceBytes *semaphore.Weighted
	requestBytes *semaphore.Weighted
	ahead        atomic.Int32 // connections that have read ahead
}

// New returns a Server that does nothing until Run. It takes ln over. reg may be
// nil.
func New(cfg Config, ln net.Listener, h Handler, log *slog.Logger, reg prometheus.Registerer) *Server {
	return &Server{
		cfg:          cfg,
		ln:           ln,
		handler:      h,
		log:          log,
		metrics:      newMetrics(reg),
		produceBytes: semaphore.NewWeighted(cfg.ProduceBytes),
		requestBytes: semaphore.NewWeighted(cfg.RequestBytes),
	}
}

// Run serves until ctx is done or the listener fails. Then it reads no more
// requests, lets those that were started finish for as long as Grace allows, and
// returns when every connection is closed.
func (s *Server) Run(ctx context.Context) error {
	stopping, stop := context.WithCancel(ctx)
	defer stop()
	broken, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer s.ln.Close()
	defer context.AfterFunc(stopping, func() { s.ln.Close() })()

	var conns sync.WaitGroup
	err := s.accept(stopping, func(nc net.Conn) {
		conns.Go(func() {
			defer s.metrics.connections.left()
			newConn(s, nc).serve(stopping, broken)
		})
	})
	stop()
	grace := time.AfterFunc(s.cfg.Grace, cut)
	defer grace.Stop()
	conns.Wait()
	return err
}

// accept calls serve with each connection, and returns nil when stopping is done.
func (s *Server) accept(stopping context.Context, serve func(net.Conn)) error {
	for {
		nc, err := s.ln.Accept()
		switch {
		case stopping.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // such as too many open files: others may close theirs
			s.log.Warn("connection not accepted", "err", err)
			pause(stopping, 100*time.Millisecond)
		case !s.metrics.connections.enter(s.cfg.MaxConnections):
			s.metrics.refused.Inc()
			nc.Close()
		default:
			serve(nc)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
