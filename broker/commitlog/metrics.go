package commitlog

import (
	"errors"
	"math"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/disk"
)

// metrics are those of one data directory, all logs together.
type metrics struct {
	cleanerMetrics

	syncs           prometheus.Counter
	syncSeconds     prometheus.Histogram
	appendsPerSync  prometheus.Histogram
	bytesPerSync    prometheus.Histogram
	queue           prometheus.GaugeFunc
	deviceBytes     prometheus.CounterFunc // nil where the system does not count them
	openFiles       prometheus.GaugeFunc
	dirtyFiles      prometheus.GaugeFunc
	indexBytes      prometheus.GaugeFunc
	logsOffline     prometheus.Gauge
	appendedBytes   prometheus.Counter
	gaps            prometheus.Counter
	gapOffsets      prometheus.Counter
	quarantined     prometheus.Counter
	setAsideDropped prometheus.Counter
	refusedAppends  prometheus.Counter
	droppedBytes    *prometheus.CounterVec // by dropLabels
	droppedRecords  *prometheus.CounterVec
	usedBytes       prometheus.GaugeFunc
	budgetBytes     prometheus.GaugeFunc
	ageSeconds      prometheus.GaugeFunc
	wallTrusted     prometheus.GaugeFunc
}

func newMetrics() *metrics {
	m := &metrics{
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
		bytesPerSync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "headwater_commit_bytes_per_sync", Help: "Bytes of batches that one sync of the committer made durable.",
			Buckets: prometheus.ExponentialBuckets(256, 4, 9), // to 16 MiB
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
		setAsideDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_log_set_aside_dropped_bytes_total", Help: "Bytes of logs that were set aside when the broker joined a region, and removed since there was no more room for them.",
		}),
		refusedAppends: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_log_refused_appends_total", Help: "Appends refused because there was no room and nothing could go.",
		}),
		droppedBytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_log_dropped_bytes_total", Help: "Bytes of batches that were removed, by why: retention, budget, disk_full, delete_records or truncation.",
		}, []string{"reason"}),
		droppedRecords: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_log_dropped_records_total", Help: "Offsets that were removed, by why.",
		}, []string{"reason"}),
	}
	m.cleanerMetrics = newCleanerMetrics()
	for _, reason := range dropLabels { // every series starts at 0
		m.droppedBytes.WithLabelValues(reason)
		m.droppedRecords.WithLabelValues(reason)
	}
	return m
}

// commitGroup is what gathers for one sync.
type commitGroup struct{ appends, bytes atomic.Int64 }

func (g *commitGroup) add(bytes int) {
	g.appends.Add(1)
	g.bytes.Add(int64(bytes))
}

func (g *commitGroup) take() (appends, bytes int64) { return g.appends.Swap(0), g.bytes.Swap(0) }

// group counts what one sync of the committer is for.
func (m *metrics) group(appends, bytes int64) {
	m.appendsPerSync.Observe(float64(appends))
	m.bytesPerSync.Observe(float64(bytes))
}

// watchDir makes the gauges that tell of c and f. What the device got is of the
// whole process, from now on: by what it and the bytes appended grow in the same
// time one sees the write amplification, as the file system has it.
func (m *metrics) watchDir(c *committer, f *files, x *indexMemory) {
	m.queue = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_commit_queue_logs", Help: "Logs that wait for a sync, or for the interval. Each is there once, however much was appended: there are never more than logs.",
	}, func() float64 { return float64(c.queued()) })
	count := func(which func(open, dirty int) int) func() float64 {
		return func() float64 { return float64(which(f.count())) }
	}
	m.openFiles = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_log_open_files", Help: "Files of segments that are kept open.",
	}, count(func(open, _ int) int { return open }))
	m.dirtyFiles = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_log_unsynced_files", Help: "Of those, files that were written and not synced since.",
	}, count(func(_, dirty int) int { return dirty }))
	m.indexBytes = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_log_index_memory_bytes", Help: "Memory for the indexes of active segments.",
	}, func() float64 { return float64(x.used.Load()) })
	before, err := disk.WrittenBytes()
	if err != nil {
		return
	}
	m.deviceBytes = prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "headwater_commit_device_bytes_total",
		Help: "Bytes that this process had the file system write since it opened the data directory, in whole pages.",
	}, func() float64 {
		now, _ := disk.WrittenBytes() // it told once, so it tells again
		return float64(max(now-before, 0))
	})
}

// watch makes the gauges that tell of b.
func (m *metrics) watch(b *budget) {
	m.usedBytes = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_log_used_bytes", Help: "Bytes of batches that all logs hold together.",
	}, func() float64 { return float64(b.used.Load()) })
	m.budgetBytes = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_log_budget_bytes", Help: "What they may hold; 0 when there is no limit.",
	}, func() float64 {
		if limit := b.limit.Load(); limit != math.MaxInt64 {
			return float64(limit)
		}
		return 0
	})
}

// watchClock makes the gauges that tell of c.
func (m *metrics) watchClock(c *ageClock) {
	m.ageSeconds = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_age_clock_seconds", Help: "Reading of the clock by which records age: for how long the data directory is known to have been in use.",
	}, func() float64 { return c.ago(0, c.now()).Seconds() })
	m.wallTrusted = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_wall_clock_trusted", Help: "1 while the time of day is known well enough to tell by it how long the box was off.",
	}, func() float64 {
		if c.trusted() == untrusted {
			return 0
		}
		return 1
	})
}

// dropped counts a segment that was removed.
func (m *metrics) dropped(why dropReason, bytes, records int64) {
	m.droppedBytes.WithLabelValues(dropLabels[why]).Add(float64(bytes))
	m.droppedRecords.WithLabelValues(dropLabels[why]).Add(float64(records))
}

func (m *metrics) all() []prometheus.Collector {
	all := []prometheus.Collector{
		m.syncs, m.syncSeconds, m.appendsPerSync, m.bytesPerSync, m.queue, m.logsOffline, m.appendedBytes,
		m.openFiles, m.dirtyFiles, m.indexBytes,
		m.gaps, m.gapOffsets, m.quarantined, m.setAsideDropped,
		m.refusedAppends, m.droppedBytes, m.droppedRecords, m.usedBytes, m.budgetBytes,
		m.ageSeconds, m.wallTrusted,
	}
	if m.deviceBytes != nil {
		all = append(all, m.deviceBytes)
	}
	return append(all, m.cleanerMetrics.all()...)
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
