package broker

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/partition"
)

// partitionMetrics tells each partition's offsets and size when it is asked, so
// that nothing is counted while nobody looks. The names are those that Kafka's
// JMX exporter gives.
type partitionMetrics struct {
	partitions *partition.Set

	startOffset, endOffset, size, count, offline *prometheus.Desc
	producers, producersDropped                  *prometheus.Desc
	leaders, underReplicated, underMinISR        *prometheus.Desc
	atRisk, lost                                 *prometheus.Desc
}

// registerPartitions adds the partitions' metrics to reg, which may be nil.
func registerPartitions(reg prometheus.Registerer, partitions *partition.Set) {
	if reg == nil {
		return
	}
	labels := []string{"topic", "partition"}
	reg.MustRegister(&partitionMetrics{
		partitions:  partitions,
		startOffset: prometheus.NewDesc("kafka_log_log_logstartoffset", "First offset that can be read.", labels, nil),
		endOffset:   prometheus.NewDesc("kafka_log_log_highwatermark", "Offset that readers stop before.", labels, nil),
		size:        prometheus.NewDesc("kafka_log_log_size", "Bytes of the partition's segments.", labels, nil),
		count:       prometheus.NewDesc("kafka_server_replicamanager_partitioncount", "Partitions on this broker.", nil, nil),
		offline:     prometheus.NewDesc("kafka_server_replicamanager_offlinereplicacount", "Partitions that do not serve since their disk failed.", nil, nil),
		producers:   prometheus.NewDesc("kafka_server_replicamanager_produceridcount", "Idempotent producers that are remembered, over all partitions.", nil, nil),
		producersDropped: prometheus.NewDesc("headwater_producers_dropped_total",
			"Idempotent producers that were forgotten: expired, or over the limit of a partition.", []string{"reason"}, nil),
		leaders:         prometheus.NewDesc("kafka_server_replicamanager_leadercount", "Partitions that this broker leads.", nil, nil),
		underReplicated: prometheus.NewDesc("kafka_server_replicamanager_underreplicatedpartitions", "Partitions led here with replicas outside the ISR.", nil, nil),
		underMinISR:     prometheus.NewDesc("kafka_server_replicamanager_underminisrpartitioncount", "Partitions led here with fewer in the ISR than min.insync.replicas.", nil, nil),
		atRisk:          prometheus.NewDesc("headwater_records_at_risk", "Records that were acknowledged once this broker had them (acks=1), and that not all of the ISR have yet, as far as it knows.", nil, nil),
		lost:            prometheus.NewDesc("headwater_records_lost_total", "Records that were acknowledged once this broker had them (acks=1), and that the next leader had not got: they were truncated.", nil, nil),
	})
}

// Describe implements prometheus.Collector.
func (m *partitionMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *partitionMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v), labels...)
	}
	all := m.partitions.All()
	gauge(m.count, int64(len(all)))
	gauge(m.offline, int64(len(m.partitions.Offline())))
	producers := m.partitions.ProducerCounts()
	gauge(m.producers, int64(producers.Known))
	for reason, n := range map[string]int64{"expired": producers.Expired, "limit": producers.OverLimit} {
		ch <- prometheus.MustNewConstMetric(m.producersDropped, prometheus.CounterValue, float64(n), reason)
	}
	replicas := m.partitions.ReplicaCounts()
	gauge(m.leaders, int64(replicas.Leaders))
	gauge(m.underReplicated, int64(replicas.UnderReplicated))
	gauge(m.underMinISR, int64(replicas.UnderMinISR))
	gauge(m.atRisk, replicas.AtRisk)
	ch <- prometheus.MustNewConstMetric(m.lost, prometheus.CounterValue, float64(replicas.Lost))
	for _, p := range all {
		startOffset, highWatermark := p.Offsets()
		gauge(m.startOffset, startOffset, p.Topic(), strconv.Itoa(int(p.Index())))
		gauge(m.endOffset, highWatermark, p.Topic(), strconv.Itoa(int(p.Index())))
		gauge(m.size, p.Size(), p.Topic(), strconv.Itoa(int(p.Index())))
	}
}
