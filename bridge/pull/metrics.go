package pull

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what becomes of requests.
type metrics struct {
	answered, refused, ignored, lost prometheus.Counter
	answers, errors                  atomic.Uint64 // answered and refused, for clients who ask
}

func newMetrics(reg prometheus.Registerer) *metrics {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_jetstream_requests_total",
		Help: "Requests of the JetStream API by what became of them: answered; refused with an error; ignored because nobody could hear the answer, or because they came faster than they could be refused; lost because the answer could not be sent.",
	}, []string{"result"})
	if reg != nil {
		reg.MustRegister(requests)
	}
	return &metrics{
		answered: requests.WithLabelValues("answered"),
		refused:  requests.WithLabelValues("refused"),
		ignored:  requests.WithLabelValues("ignored"),
		lost:     requests.WithLabelValues("lost"),
	}
}

func (m *metrics) answer() {
	m.answered.Inc()
	m.answers.Add(1)
}

func (m *metrics) refuse() {
	m.refused.Inc()
	m.errors.Add(1)
}
