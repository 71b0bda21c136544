package commitlog

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// cleanerMetrics tell of compaction. Where Kafka has one, the name is that which its
// JMX exporter gives.
type cleanerMetrics struct {
	dirtiest        prometheus.Gauge
	uncleanableLogs prometheus.Gauge
	bufferFilled    prometheus.Gauge
	cleanSeconds    prometheus.Gauge
	rounds          prometheus.Counter
	fullRounds      prometheus.Counter
	readBytes       prometheus.Counter
	writtenBytes    prometheus.Counter
	recordsRemoved  prometheus.Counter
}

func newCleanerMetrics() cleanerMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return cleanerMetrics{
		dirtiest:        gauge("kafka_log_logcleanermanager_max_dirty_percent", "Of the compacted log with most to compact: its share that is not compacted."),
		uncleanableLogs: gauge("kafka_log_logcleanermanager_uncleanable_partitions_count", "Logs whose compaction failed and which are left alone for a while."),
		bufferFilled:    gauge("kafka_log_logcleaner_max_buffer_utilization_percent", "How much of cleaner.buffer the last compaction used."),
		cleanSeconds:    gauge("kafka_log_logcleaner_max_clean_time_secs", "How long the last compaction took."),
		rounds:          counter("headwater_cleaner_rounds_total", "Compactions of a log."),
		fullRounds:      counter("headwater_cleaner_rounds_buffer_full_total", "Compactions that cleaner.buffer was too small for; the next goes on from there."),
		readBytes:       counter("headwater_cleaner_read_bytes_total", "Bytes that compaction read."),
		writtenBytes:    counter("headwater_cleaner_written_bytes_total", "Bytes of segments that compaction wrote."),
		recordsRemoved:  counter("headwater_cleaner_removed_records_total", "Records that compaction took out: later ones have their keys, or their tombstone's time was over."),
	}
}

// cleaned counts a round.
func (m *cleanerMetrics) cleaned(s roundStats, filled float64, took time.Duration) {
	m.rounds.Inc()
	if s.mapFull {
		m.fullRounds.Inc()
	}
	m.bufferFilled.Set(100 * filled)
	m.cleanSeconds.Set(took.Seconds())
	m.readBytes.Add(float64(s.readBytes))
	m.writtenBytes.Add(float64(s.writtenBytes))
	m.recordsRemoved.Add(float64(s.recordsRemoved))
}

func (m *cleanerMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.dirtiest, m.uncleanableLogs, m.bufferFilled, m.cleanSeconds, m.rounds, m.fullRounds, m.readBytes, m.writtenBytes, m.recordsRemoved,
	}
}
