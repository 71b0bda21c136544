package broker

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/quota"
)

// clientMetrics tells what clients that are held to a rate have had, when it is
// asked. The names are those that Kafka's JMX exporter gives. There are at most
// quota.MaxClients of each.
type clientMetrics struct {
	clients            *quota.Limiter
	byteRate, throttle map[quota.Kind]*prometheus.Desc
}

// registerClients adds the clients' metrics to reg, which may be nil.
func registerClients(reg prometheus.Registerer, clients *quota.Limiter) {
	if reg == nil {
		return
	}
	labels := []string{"client_id"}
	m := &clientMetrics{clients, map[quota.Kind]*prometheus.Desc{}, map[quota.Kind]*prometheus.Desc{}}
	for k, name := range map[quota.Kind]string{quota.Produce: "produce", quota.Fetch: "fetch"} {
		m.byteRate[k] = prometheus.NewDesc("kafka_server_"+name+"_byte_rate",
			"Bytes a second over the last ten, of a client that is held to a rate.", labels, nil)
		m.throttle[k] = prometheus.NewDesc("kafka_server_"+name+"_throttle_time",
			"Mean of the milliseconds for which such a client was kept waiting within the last ten seconds.", labels, nil)
	}
	reg.MustRegister(m)
}

// Describe implements prometheus.Collector.
func (m *clientMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, descs := range []map[quota.Kind]*prometheus.Desc{m.byteRate, m.throttle} {
		for _, d := range descs {
			ch <- d
		}
	}
}

// Collect implements prometheus.Collector.
func (m *clientMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, u := range m.clients.Usages(time.Now()) {
		id := strings.ToValidUTF8(u.ClientID, "?")
		ch <- prometheus.MustNewConstMetric(m.byteRate[u.Kind], prometheus.GaugeValue, u.ByteRate, id)
		ch <- prometheus.MustNewConstMetric(m.throttle[u.Kind], prometheus.GaugeValue, float64(u.Throttle.Milliseconds()), id)
	}
}
