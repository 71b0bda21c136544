package pull

import "github.com/prometheus/client_golang/prometheus"

// consumerCounts count what consumers do.
type consumerCounts struct {
	delivered, redelivered, exhausted, missed, cut, unsaid, commitsFailed prometheus.Counter
}

func newConsumerCounts(reg prometheus.Registerer, t *consumers) *consumerCounts {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "headwater_jetstream_" + name, Help: help})
	}
	n := &consumerCounts{
		delivered:     counter("deliveries_total", "Messages that consumers gave to clients, those among them that were given again."),
		redelivered:   counter("redeliveries_total", "Messages that consumers gave to clients again, because nobody acknowledged them in time or somebody asked for it."),
		exhausted:     counter("max_deliveries_total", "Messages that a consumer gave up, having given them as often as its max_deliver allows."),
		missed:        counter("missed_records_total", "Records that retention took before a consumer had them acknowledged, by offsets."),
		cut:           counter("cut_messages_total", "Messages that were given without their payload, which is larger than NATS messages may be here."),
		unsaid:        counter("statuses_lost_total", "Statuses and answers to acknowledgements that could not be sent."),
		commitsFailed: counter("commits_failed_total", "Commits of durable consumers that failed; they are tried again."),
	}
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headwater_jetstream_" + name, Help: help}, func() float64 {
			t.mu.Lock()
			defer t.mu.Unlock()
			return float64(value())
		})
	}
	if reg != nil {
		reg.MustRegister(n.delivered, n.redelivered, n.exhausted, n.missed, n.cut, n.unsaid, n.commitsFailed,
			gauge("consumers", "Consumers that there are.", func() int { return t.count }),
			gauge("ack_pending", "Messages that consumers gave and that are not acknowledged.", func() int { return t.pending }),
			gauge("pulls_waiting", "Pull requests that wait for messages.", func() int { return t.waiting }))
	}
	return n
}
