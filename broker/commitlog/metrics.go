package commitlog

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one data directory, all logs together.
type metrics struct {
	syncs          prometheus.Counter
	syncSeconds    prometheus.Histogram
	appendsPerSync prometheus.Histogram
	logsOffline    prometheus.Gauge
	appendedBytes  prometheus.Counter
	gaps           prometheus.Counter
	gapOffsets     prometheus.Counter
	quarantined    prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		syncs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_commit_syncs_total", Help: "Syncs of a log's active segment.",
		}),
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "headwater_commit_sync_duration_seconds", Help: "Time that a sync took.",
			Buckets: prometheus.ExponentialBuckets(100e-6, 4, 9), // 0.1 ms to 6.5 s
		}),
		appendsPerSync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "headwater_commit_appends_per_sync", Help: "Appends that one sync of the committer made durable.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
		logsOffline: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "headwater_commit_logs_offline", Help: "Logs whose write or sync failed since the start.",
		}),
		appendedBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_commit_appended_bytes_total", Help: "Bytes of batches appended.",
		}),
		gaps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_log_gaps_total", Help: "Runs of offsets found lost to damage, each counted when it was found.",
		}),
		gapOffsets: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_log_gap_offsets_total", Help: "Offsets in the gaps found.",
		}),
		quarantined: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_log_quarantined_bytes_total", Help: "Damaged bytes taken out of segments.",
		}),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.syncs, m.syncSeconds, m.appendsPerSync, m.logsOffline, m.appendedBytes, m.gaps, m.gapOffsets, m.quarantined}
}

// register makes m known to r, which may be nil, all or none.
func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, c := range m.all() {
		errs = append(errs, r.Register(c))
	}
	err := errors.Join(errs...)
	if err != nil {
		for i, c := range m.all() {
			if errs[i] == nil {
				r.Unregister(c)
			}
		}
	}
	return err
}

func (m *metrics) unregister(r prometheus.Registerer) {
	if r == nil {
		return
	}
	for _, c := range m.all() {
		r.Unregister(c)
	}
}
