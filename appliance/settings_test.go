package appliance

import (
	"net"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/bridge"
)

// What may wait for a NATS client follows the memory and the largest message, unless it
// is set.
func TestPendingSettings(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct{ setting, payload, memory, want int64 }{
		"memory":  {config.PendingAuto, mib / 2, 5 * mib, 5 * mib},
		"payload": {config.PendingAuto, mib, 5 * mib, 8 * mib},
		"set":     {20 * mib, mib, 5 * mib, 20 * mib},
	} {
		cfg := config.Default()
		cfg.NATS.MaxPending, cfg.NATS.MaxPayload = tc.setting, tc.payload
		if got := bridgeConfig(cfg, budgets{pending: tc.memory}).MaxPendingBytes; got != tc.want {
			t.Errorf("%s: %d bytes, want %d", name, got, tc.want)
		}
	}
	if config.PendingPayloads != bridge.PendingPayloads {
		t.Errorf("the settings allow %d messages to wait, the bridge needs %d", config.PendingPayloads, bridge.PendingPayloads)
	}
}

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

// In a region nobody can have a durable consumer, and is told so.
func TestNoDurableInARegion(t *testing.T) {
	for zookeeper, want := range map[string]string{"": "", "hub-1:2181": noDurable} {
		cfg := config.Default()
		cfg.Region.ZooKeeper = zookeeper
		if got := bridgeConfig(cfg, budgets{}).NoDurable; got != want {
			t.Errorf("with ZooKeeper at %q: %q", zookeeper, got)
		}
	}
}

// What leaders may send a follower at one time is a share of the memory.
func TestFollowerFetchBytes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got, err := brokerConfig(config.Default(), budgets{followed: 3 << 20}, ln)
	if err != nil || got.Region.FetchBytes != 3<<20 {
		t.Errorf("%d bytes, %v", got.Region.FetchBytes, err)
	}
}
