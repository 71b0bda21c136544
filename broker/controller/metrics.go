package controller

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// census is how the cluster is, as the controller sees it.
type census struct {
	brokers, topics, partitions int64
	offline                     int64 // partitions that nobody leads
	notPreferred                int64 // partitions that another leads than should
	deleting, moving            int64
}

// count takes a census.
func (t *term) count() census {
	c := census{brokers: int64(len(t.brokers)), topics: int64(len(t.topics))}
	for _, info := range t.topics {
		c.partitions += int64(len(info.partitions))
		if info.deletion != nil {
			c.deleting++
			continue
		}
		for _, p := range info.partitions {
			if t.leaderless(p) {
				c.offline++
			}
			if p.state.Leader != p.assignment.Replicas[0] {
				c.notPreferred++
			}
			if moving(p.assignment) {
				c.moving++
			}
		}
	}
	return c
}

// metrics have the names that Kafka's JMX exporter gives. They are 0 at brokers
// that are not the controller.
type metrics struct {
	now     atomic.Pointer[census]
	unclean prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{unclean: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kafka_controller_controllerstats_uncleanleaderelections_total",
		Help: "Leaders that were elected outside the ISR: records were lost.",
	})}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.unclean)
	for _, g := range []struct {
		name, help string
		value      func(*census) int64
	}{
		{"activecontrollercount", "1 at the controller.", func(*census) int64 { return 1 }},
		{"activebrokercount", "Brokers that are registered.", func(c *census) int64 { return c.brokers }},
		{"globaltopiccount", "Topics of the cluster.", func(c *census) int64 { return c.topics }},
		{"globalpartitioncount", "Partitions of the cluster.", func(c *census) int64 { return c.partitions }},
		{"offlinepartitionscount", "Partitions that nobody leads.", func(c *census) int64 { return c.offline }},
		{"preferredreplicaimbalancecount", "Partitions that another replica leads than the preferred one.", func(c *census) int64 { return c.notPreferred }},
		{"topicstodeletecount", "Topics that are to be deleted.", func(c *census) int64 { return c.deleting }},
		{"reassigningpartitionscount", "Partitions that move to other brokers.", func(c *census) int64 { return c.moving }},
	} {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kafka_controller_kafkacontroller_" + g.name, Help: g.help,
		}, func() float64 {
			if c := m.now.Load(); c != nil {
				return float64(g.value(c))
			}
			return 0
		}))
	}
	return m
}

func (m *metrics) set(c census) { m.now.Store(&c) }
func (m *metrics) clear()       { m.now.Store(nil) }
