package replication

import (
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the followers'; the names are those of Kafka's JMX exporter where Kafka
// counts the same.
type metrics struct {
	bytes, rounds, corrupt, truncated, restarted prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, f *Fetchers) metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := metrics{
		bytes:     counter("kafka_server_brokertopicmetrics_replicationbytesin_total", "Bytes of batches that followers have appended."),
		rounds:    counter("headwater_replication_fetches_total", "Fetches that leaders have answered."),
		corrupt:   counter("headwater_replication_corrupt_total", "Answers of leaders with a batch that followers did not take."),
		truncated: counter("headwater_replication_truncations_total", "Times that a follower removed records its leader does not have."),
		restarted: counter("headwater_replication_restarts_total", "Times that a follower emptied its log to go on elsewhere."),
	}
	if reg != nil {
		reg.MustRegister(m.bytes, m.rounds, m.corrupt, m.truncated, m.restarted, &lagMetrics{
			fetchers: f,
			lag: prometheus.NewDesc("kafka_server_fetcherlagmetrics_consumerlag",
				"Offsets to the leader's high watermark.", []string{"clientId", "topic", "partition"}, nil),
			maxLag:  prometheus.NewDesc("kafka_server_replicafetchermanager_maxlag", "The largest lag of a follower here.", nil, nil),
			stopped: prometheus.NewDesc("kafka_server_replicafetchermanager_failedpartitionscount", "Followers that have stopped since their log failed.", nil, nil),
		})
	}
	return m
}

// lagMetrics tell how far followers are behind when they are asked.
type lagMetrics struct {
	fetchers             *Fetchers
	lag, maxLag, stopped *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (m *lagMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *lagMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v), labels...)
	}
	largest, stopped := int64(0), int64(0)
	for _, l := range m.fetchers.Lags() {
		if l.Stopped {
			stopped++
		}
		if l.Offsets < 0 {
			continue
		}
		largest = max(largest, l.Offsets)
		gauge(m.lag, l.Offsets, fmt.Sprintf("ReplicaFetcherThread-%d-%d", l.Fetcher, l.Leader), l.Topic, strconv.Itoa(int(l.Index)))
	}
	gauge(m.maxLag, largest)
	gauge(m.stopped, stopped)
}
