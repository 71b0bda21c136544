package bridge

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

const patience = 10 * time.Second // longer than anything here takes

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.NextOffset = func(err error) (int64, bool) {
		var m mismatch
		ok := errors.As(err, &m)
		return int64(m), ok
	}
	return cfg
}

// serving is a Bridge that runs.
type serving struct {
	*Bridge
	log  *memoryLog // nil when another was given
	reg  *prometheus.Registry
	stop func() error // ends Run and returns what it returned
}

func serve(t testing.TB, cfg Config) *serving {
	t.Helper()
	log := newMemoryLog()
	s := serveOn(t, cfg, log)
	s.log = log
	t.Cleanup(log.release) // before stop
	return s
}

func serveOn(t testing.TB, cfg Config, log store) *serving {
	t.Helper()
	s := &serving{}
	s.run(t, cfg, memoryBroker{store: log})
	t.Cleanup(func() { s.stop() })
	return s
}

// run has a new Bridge serve devices until stop is called.
func (s *serving) run(t testing.TB, cfg Config, broker Broker) {
	t.Helper()
	s.reg = prometheus.NewRegistry()
	b, err := Listen(cfg, slog.New(slog.DiscardHandler), s.reg)
	if err != nil {
		t.Fatal(err)
	}
	s.Bridge = b
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	var ended error
	go func() { defer close(over); ended = b.Run(ctx, broker) }()
	s.stop = func() error {
		cancel()
		<-over
		return ended
	}
}

// eventually waits until ok holds: for longer than it takes until new certificates are
// looked for.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not: %s", what)
		}
	}
}

// connect makes a device, which keeps trying while the bridge opens.
func (s *serving) connect(t testing.TB, options ...nats.Option) *nats.Conn {
	t.Helper()
	options = append(options, nats.RetryOnFailedConnect(true), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0))
	connected := make(chan struct{}, 1)
	options = append(options, nats.ConnectHandler(func(*nats.Conn) { connected <- struct{}{} }))
	nc, err := nats.Connect("nats://"+s.Addr(), options...)
	if err != nil {
		t.Fatal(err)
	}
	<-connected
	t.Cleanup(nc.Close)
	return nc
}

func (s *serving) messages(t testing.TB) int { return s.counted(t, "headwater_bridge_messages_total") }

func (s *serving) counted(t testing.TB, name string) (sum int) {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				sum += int(m.GetCounter().GetValue())
			}
		}
	}
	return sum
}
