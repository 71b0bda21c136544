package zk

import "github.com/prometheus/client_golang/prometheus"

// What the gauge of the session says.
const (
	stateNone         = 0
	stateDisconnected = 1
	stateConnected    = 2
)

type metrics struct {
	state       prometheus.Gauge
	sessions    prometheus.Counter
	expirations prometheus.Counter
	disconnects prometheus.Counter
	requests    prometheus.Histogram
}

// newMetrics registers with reg, which may be nil. Where Kafka has a name, it is the
// one that its JMX exporter gives.
func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		state: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "headwater_zookeeper_session_state",
			Help: "2: connected; 1: there is a session, and no connection; 0: no session.",
		}),
		sessions:    counter("headwater_zookeeper_sessions_total", "Sessions that were begun."),
		expirations: counter("kafka_server_sessionexpirelistener_zookeeperexpires_total", "Sessions that ended without being closed, by our clock or ZooKeeper's."),
		disconnects: counter("kafka_server_sessionexpirelistener_zookeeperdisconnects_total", "Connections that were lost."),
		requests: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "headwater_zookeeper_request_seconds",
			Help:    "Time from a request to its answer, or to the end of its connection.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8), // 0.5 ms to 8 s
		}),
	}
	if reg != nil {
		reg.MustRegister(m.state, m.sessions, m.expirations, m.disconnects, m.requests)
	}
	return m
}
