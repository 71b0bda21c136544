package broker_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/brokertest"
)

// A partition remembers as many idempotent producers as the settings say.
func TestMaxProducers(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	cfg.MaxProducers = 2
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	b, err := broker.Open(cfg, ln, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return b.Run(ctx) })
	defer func() {
		stop()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
	}()
	for range 5 {
		cl, err := kgo.NewClient(kgo.SeedBrokers(ln.Addr().String()), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		err = cl.ProduceSync(t.Context(), &kgo.Record{Topic: "press", Value: []byte("x")}).FirstErr()
		cl.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	const want = `
# HELP headwater_producers_dropped_total Idempotent producers that were forgotten: expired, or over the limit of a partition.
# TYPE headwater_producers_dropped_total counter
headwater_producers_dropped_total{reason="expired"} 0
headwater_producers_dropped_total{reason="limit"} 3
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "headwater_producers_dropped_total"); err != nil {
		t.Error(err)
	}
}
