// Package brokertest starts a broker for a test, on a loopback port and with a
// data directory of its own, and holds what must be true of every broker when the
// test is over: it stops without an error, and starts again on the same data with
// the same offsets.
package brokertest

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/topic"
)

// Box is a running broker.
type Box struct {
	*broker.Broker
	Addr string // of the Kafka listener, host:port

	stop func() error
}

// Config is small and quick: topics are made with one partition when they are
// first used, and every acknowledgement waits for a sync.
func Config(dir string) broker.Config {
	return broker.Config{
		DataDir:           dir,
		Durability:        commitlog.Sync,
		SyncInterval:      time.Second,
		BrokerID:          1,
		AutoCreateTopics:  true,
		DefaultPartitions: 1,
		MaxPartitions:     100,
		TopicDefaults:     topic.Defaults(),
		CleanerBuffer:     4 << 20,
		CleanerRate:       16 << 20,
		CleanerInterval:   15 * time.Second,
		MaxConnections:    100,
		ProduceBytes:      32 << 20,
		FetchBytes:        32 << 20,

		FetchSessions:     100,
		FetchSessionBytes: 4 << 20,

		MaxProducers:       1000,
		ProducerExpiration: 24 * time.Hour,
		RetentionEvery:     30 * time.Second,
		Groups:             group.DefaultConfig(),
	}
}

// Start runs a broker as cfg says until the test ends or Stop is called.
func Start(t testing.TB, cfg broker.Config) *Box {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Open(cfg, ln, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		ln.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	box := &Box{Broker: b, Addr: ln.Addr().String()}
	var stopped bool
	box.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { box.Stop(t) })
	return box
}

// Stop ends the broker, which must have had no trouble.
func (b *Box) Stop(t testing.TB) {
	t.Helper()
	if err := b.stop(); err != nil {
		t.Errorf("the broker ended with: %v", err)
	}
}
