package group

import "github.com/prometheus/client_golang/prometheus"

// metrics are the coordinator's; the names are those of Kafka's JMX exporter where
// Kafka counts the same.
type metrics struct {
	rebalances, commits, commitsFailed, expired, skipped, loadSeconds prometheus.Counter
}

func newMetrics() metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return metrics{
		rebalances:    counter("headwater_group_rebalances_total", "Generations that groups have begun."),
		commits:       counter("headwater_group_offsets_committed_total", "Offsets that were committed, by partition."),
		commitsFailed: counter("headwater_group_offsets_refused_total", "Offsets that were not committed."),
		expired:       counter("headwater_group_offsets_expired_total", "Offsets that were dropped because of their age."),
		skipped:       counter("headwater_group_records_skipped_total", "Records of __consumer_offsets that could not be read when groups were loaded."),
		loadSeconds:   counter("headwater_group_load_seconds_total", "Time taken to load groups and offsets."),
	}
}

// count counts what became of offsets that were to be committed.
func (m metrics) count(errs []error) {
	for _, err := range errs {
		if err != nil {
			m.commitsFailed.Inc()
		} else {
			m.commits.Inc()
		}
	}
}

// census tells how the groups are when it is asked.
type census struct {
	c                              *Coordinator
	groups, members, offsets, size *prometheus.Desc
}

func (m metrics) register(reg prometheus.Registerer, c *Coordinator) {
	if reg == nil {
		return
	}
	reg.MustRegister(m.rebalances, m.commits, m.commitsFailed, m.expired, m.skipped, m.loadSeconds, &census{
		c:       c,
		groups:  prometheus.NewDesc("headwater_groups", "Consumer groups, by state.", []string{"state"}, nil),
		members: prometheus.NewDesc("headwater_group_members", "Members of all groups.", nil, nil),
		offsets: prometheus.NewDesc("headwater_group_offsets", "Committed offsets of all groups.", nil, nil),
		size:    prometheus.NewDesc("headwater_group_bytes", "Bytes of memory that groups count for, against groups.maxBytes.", nil, nil),
	})
}

// Describe implements prometheus.Collector.
func (n *census) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(n, ch) }

// Collect implements prometheus.Collector.
func (n *census) Collect(ch chan<- prometheus.Metric) {
	states := map[State]int{}
	members, offsets := 0, 0
	for _, k := range n.c.cells() {
		k.mu.Lock()
		states[k.g.state]++
		members += len(k.g.members)
		offsets += len(k.g.offsets)
		k.mu.Unlock()
	}
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range States() {
		gauge(n.groups, float64(states[s]), s.String())
	}
	gauge(n.members, float64(members))
	gauge(n.offsets, float64(offsets))
	gauge(n.size, float64(n.c.bytes.Load()))
}
