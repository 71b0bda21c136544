package appliance

import (
	"net"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/config"
)

// What is set of idempotent producers is what the broker is told.
func TestProducerSettings(t *testing.T) {
	cfg := config.Default()
	cfg.Kafka.MaxProducerIDs, cfg.Kafka.ProducerIDExpiration = 7, 90*time.Minute
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got, err := brokerConfig(cfg, budgets{}, ln)
	if err != nil || got.MaxProducers != 7 || got.ProducerExpiration != 90*time.Minute {
		t.Errorf("%d producers for %v, %v; want 7 for 1h30m", got.MaxProducers, got.ProducerExpiration, err)
	}
}
