package peer

import "github.com/prometheus/client_golang/prometheus"

// Metrics count for all connections, by what they are for.
type Metrics struct {
	requests, errors, connections *prometheus.CounterVec
}

// NewMetrics adds the metrics to reg, which may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"purpose"})
	}
	m := &Metrics{
		requests:    counter("headwater_peer_requests_total", "Requests sent to other brokers."),
		errors:      counter("headwater_peer_errors_total", "Requests to other brokers that got no answer."),
		connections: counter("headwater_peer_connections_total", "Connections made to other brokers."),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.errors, m.connections)
	}
	return m
}

func (m *Metrics) request(purpose string) {
	if m != nil {
		m.requests.WithLabelValues(purpose).Inc()
	}
}

func (m *Metrics) failed(purpose string) {
	if m != nil {
		m.errors.WithLabelValues(purpose).Inc()
	}
}

func (m *Metrics) connected(purpose string) {
	if m != nil {
		m.connections.WithLabelValues(purpose).Inc()
	}
}
