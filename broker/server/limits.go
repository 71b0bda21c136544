package server

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/headwater/headwater/broker/wire"
)

// freeBytes is the length up to which a frame weighs on no budget. A connection
// has one such frame at a time.
const freeBytes = 4 << 10

// weight is what a frame takes of a budget; the zero value takes nothing.
type weight struct {
	budget *semaphore.Weighted
	bytes  int64
}

// weigh returns what a frame of size bytes takes.
func (s *Server) weigh(size int64, pipelined bool) weight {
	switch { // a frame that is larger than the budget has it to itself
	case pipelined:
		return weight{s.produceBytes, min(size, s.cfg.ProduceBytes)}
	case size > freeBytes:
		return weight{s.requestBytes, min(size, s.cfg.RequestBytes)}
	}
	return weight{}
}

func (w weight) tryAcquire() bool { return w.budget == nil || w.budget.TryAcquire(w.bytes) }

func (w weight) acquire(ctx context.Context) error { return w.budget.Acquire(ctx, w.bytes) }

func (w weight) release() {
	if w.budget != nil {
		w.budget.Release(w.bytes)
	}
}

// closed counts why a connection ended, and logs it where that may be news.
func (s *Server) closed(c *conn, err error) {
	reason := "failed"
	switch {
	case err == nil || errors.Is(err, errGone) || errors.Is(err, context.Canceled):
		return
	case errors.Is(err, errIdle):
		reason = "idle"
	case errors.Is(err, errStalled):
		reason = "stalled"
	case errors.Is(err, ErrUnsupported):
		reason = "unsupported"
	case errors.Is(err, wire.ErrMalformed):
		reason = "malformed"
	}
	s.metrics.closed.WithLabelValues(reason).Inc()
	if reason != "idle" {
		s.log.Info("connection closed", "remote", c.RemoteAddr(), "reason", reason, "err", err)
	}
}

// openConns counts connections for the limit and for the gauge.
type openConns struct{ n atomic.Int64 }

// enter reports whether one more is within limit, and counts it.
func (o *openConns) enter(limit int) bool {
	if o.n.Add(1) > int64(limit) {
		o.n.Add(-1)
		return false
	}
	return true
}

func (o *openConns) left() { o.n.Add(-1) }

type metrics struct {
	connections *openConns
	refused     prometheus.Counter
	requests    *prometheus.CounterVec
	closed      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		connections: &openConns{},
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_kafka_connections_refused_total",
			Help: "Kafka connections closed at once, because as many as allowed were open.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kafka_network_requestmetrics_requests_total",
			Help: "Kafka requests taken, by the name of their API and its version.",
		}, []string{"request", "version"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_kafka_connections_closed_total",
			Help: "Kafka connections that the broker closed: malformed, unsupported or failed requests, stalled or idle clients.",
		}, []string{"reason"}),
	}
	if reg == nil {
		return m
	}
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kafka_server_socketservermetrics_connection_count",
		Help: "Open Kafka connections.",
	}, func() float64 { return float64(m.connections.n.Load()) })
	reg.MustRegister(open, m.refused, m.requests, m.closed)
	return m
}
