package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/quota"
)

// Clients that are held to a rate are shown by Kafka's names, for the kinds that they
// have a rate of.
func TestClientMetrics(t *testing.T) {
	clients := quota.NewLimiter(quota.Rates{quota.Produce: 1000})
	reg := prometheus.NewRegistry()
	registerClients(reg, clients)
	clients.Charge(nil, quota.Produce, "press\xff", 12000, time.Now())
	want := `
# HELP kafka_server_produce_byte_rate Bytes a second over the last ten, of a client that is held to a rate.
# TYPE kafka_server_produce_byte_rate gauge
kafka_server_produce_byte_rate{client_id="press?"} 1200
# HELP kafka_server_produce_throttle_time Mean of the milliseconds for which such a client was kept waiting within the last ten seconds.
# TYPE kafka_server_produce_throttle_time gauge
kafka_server_produce_throttle_time{client_id="press?"} 2000
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
