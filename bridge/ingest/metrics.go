package ingest

import "github.com/prometheus/client_golang/prometheus"

const (
	core  = 0 // asks for no answer
	acked = 1
)

// metrics are made before the first message, so that counting one costs no look-up
// and every series starts at 0. Rules are counted by their number.
type metrics struct {
	messages [][2]prometheus.Counter       // by rule, and core or acked
	dropped  [][reasons]prometheus.Counter // by rule and reason
	refused  [][reasons]prometheus.Counter // by rule and reason

	duplicates []prometheus.Counter // by rule

	unmatched    prometheus.Counter
	unanswered   prometheus.Counter
	batches      prometheus.Counter
	batchRecords prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, ruleNames []string, buffered func() float64, remembered func() (now int, evicted int64)) *metrics {
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_bridge_messages_total", Help: "Messages that a rule took from devices.",
	}, []string{"rule", "kind"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_bridge_dropped_total", Help: "Best-effort messages that were not stored.",
	}, []string{"rule", "reason"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_bridge_refused_total", Help: "Messages with an answer that were not stored, or not confirmed in time, and whose publisher was told so.",
	}, []string{"rule", "reason"})
	duplicates := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_bridge_duplicates_total", Help: "Messages that were not stored since one with the same id is, or was on its way.",
	}, []string{"rule"})
	m := &metrics{
		unmatched: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_bridge_unmatched_total", Help: "Messages that were not stored since no rule takes their subject, of those that no rule's subscription brought.",
		}),
		unanswered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_bridge_unanswered_total", Help: "Answers that could not be sent.",
		}),
		batches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_bridge_batches_total", Help: "Record batches handed to the log.",
		}),
		batchRecords: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "headwater_bridge_batch_records", Help: "Records in a batch.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500},
		}),
	}
	for _, rule := range ruleNames {
		m.messages = append(m.messages, [2]prometheus.Counter{
			core: messages.WithLabelValues(rule, "core"), acked: messages.WithLabelValues(rule, "acked"),
		})
		m.duplicates = append(m.duplicates, duplicates.WithLabelValues(rule))
		m.dropped = append(m.dropped, byReason(dropped, rule))
		m.refused = append(m.refused, byReason(refused, rule))
	}
	if reg != nil {
		reg.MustRegister(messages, dropped, refused, duplicates, m.unmatched, m.unanswered, m.batches, m.batchRecords,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "headwater_bridge_buffered_bytes", Help: "Bytes of messages that are gathered or on their way to the log.",
			}, buffered),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "headwater_bridge_dedup_ids", Help: "Message ids that are remembered.",
			}, func() float64 { now, _ := remembered(); return float64(now) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "headwater_bridge_dedup_evicted_total", Help: "Message ids that were forgotten before bridge.dedupWindow was over, for want of room.",
			}, func() float64 { _, evicted := remembered(); return float64(evicted) }))
	}
	return m
}

func byReason(vec *prometheus.CounterVec, rule string) (counters [reasons]prometheus.Counter) {
	for why := taken + 1; why < reasons; why++ {
		if why != noRule { // which counts for none
			counters[why] = vec.WithLabelValues(rule, refusals[why].label)
		}
	}
	return counters
}

func (m *metrics) took(rule int, msg *Message) {
	kind := core
	if msg.asks() {
		kind = acked
	}
	m.messages[rule][kind].Inc()
}
