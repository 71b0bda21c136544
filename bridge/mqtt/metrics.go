package mqtt

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	publishes  [3]prometheus.Counter // by QoS
	forbidden  prometheus.Counter
	refusals   prometheus.Counter
	dropped    prometheus.Counter
	unheard    prometheus.Counter
	logins     prometheus.Counter
	turnedAway prometheus.Counter

	uncarried       prometheus.Counter
	sessionsRefused prometheus.Counter
	retainedRefused prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Server) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "headwater_mqtt_" + name, Help: help})
	}
	publishes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_mqtt_publishes_total", Help: "Publishes that MQTT clients sent.",
	}, []string{"qos"})
	m := &metrics{
		forbidden:  counter("forbidden_total", "Publishes and wills that their user may not make."),
		refusals:   counter("disconnected_unstored_total", "MQTT 3.1.1 clients that were let go because their message was not stored."),
		dropped:    counter("dropped_total", "Messages that an MQTT subscriber did not take, for it was too slow, away for too long, or full."),
		unheard:    counter("unheard_total", "Publishes of MQTT clients that could not be told to NATS's subscribers."),
		logins:     counter("failed_logins_total", "MQTT clients that were not let in."),
		turnedAway: counter("connections_refused_total", "MQTT connections beyond mqtt.maxConnections."),

		uncarried:       counter("uncarried_total", "Messages of NATS clients that came faster than they could be carried to MQTT's subscribers."),
		sessionsRefused: counter("sessions_refused_total", "MQTT clients that were not let in because too many sessions are kept."),
		retainedRefused: counter("retained_refused_total", "Messages that were not retained because too many are, or too large ones."),
	}
	for qos := range m.publishes {
		m.publishes[qos] = publishes.WithLabelValues(fmt.Sprint(qos))
	}
	if reg != nil {
		reg.MustRegister(publishes, m.forbidden, m.refusals, m.dropped, m.unheard, m.logins, m.turnedAway, m.uncarried, m.sessionsRefused, m.retainedRefused,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headwater_mqtt_connections", Help: "MQTT clients that are connected."}, func() float64 {
				s.mu.Lock()
				defer s.mu.Unlock()
				return float64(len(s.clients))
			}))
	}
	return m
}
