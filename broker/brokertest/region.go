package brokertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/zk"
	"github.com/headwater/headwater/broker/zk/zktest"
)

// Region is brokers in this process that have joined through one ZooKeeper. Its methods
// are for one goroutine.
type Region struct {
	ZooKeeper *zktest.Server
	Hubs      []*Hub

	dir string
}

// Hub is one of the brokers, running or stopped. It keeps its address, its id and its
// data.
type Hub struct {
	*broker.Broker
	ID       int32
	Addr     string
	Config   broker.Config
	Registry *prometheus.Registry // of the last start

	stop func() error // nil while it does not run
}

// patience bounds what is waited for, and fails in the end.
const patience = 60 * time.Second

// StartRegion starts a ZooKeeper and n brokers, which have ids from 1 and stop when the
// test ends. change, if it is not nil, may change what the i-th is told, from 0.
func StartRegion(t testing.TB, n int, change func(i int, cfg *broker.Config)) *Region {
	t.Helper()
	r := &Region{ZooKeeper: zktest.Start(t)}
	dir := t.TempDir()
	t.Cleanup(func() {
		for _, h := range r.Hubs {
			h.Stop(t)
		}
	})
	r.dir = dir
	for range n {
		r.Add(t, change)
	}
	r.Await(t, fmt.Sprintf("%d brokers and a controller", n), func() bool {
		for _, h := range r.Hubs {
			s := h.Snapshot()
			if _, ok := s.Broker(s.ControllerID); len(s.Brokers) != n || !ok {
				return false
			}
		}
		return true
	})
	return r
}

// Add starts one more broker.
func (r *Region) Add(t testing.TB, change func(i int, cfg *broker.Config)) *Hub {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := len(r.Hubs)
	h := &Hub{ID: int32(i + 1), Addr: ln.Addr().String(), Config: RegionConfig(filepath.Join(r.dir, fmt.Sprint(i)), r.ZooKeeper.Address())}
	h.Config.Region.BrokerID = h.ID
	if change != nil {
		change(i, &h.Config)
	}
	r.Hubs = append(r.Hubs, h)
	h.run(t, ln)
	return h
}

// RegionConfig is Config for a broker in a region: what is written is on all of three
// replicas, and on two at least.
func RegionConfig(dir, zookeeper string) broker.Config {
	cfg := Config(dir)
	cfg.TopicDefaults.MinISR = 2
	cfg.MaxPartitions = 1000
	cfg.Groups.Partitions, cfg.Groups.InitialDelay = 3, 100*time.Millisecond
	cfg.Region = broker.RegionConfig{
		ZooKeeper: zk.DefaultConfig(), Listener: "PLAINTEXT", ReplicationFactor: 3, MaxReplicaLag: 10 * time.Second,
		Mirror: group.DefaultMirrorConfig(),
	}
	cfg.Region.ZooKeeper.Connect = zookeeper
	return cfg
}

// Await waits until something is so.
func (r *Region) Await(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v not yet: %s", patience, what)
		}
	}
}

// Hub is the one of that id.
func (r *Region) Hub(id int32) *Hub { return r.Hubs[id-1] }

// Running is one that runs, and is not the one of the id.
func (r *Region) Running(t testing.TB, not int32) *Hub {
	t.Helper()
	for _, h := range r.Hubs {
		if h.stop != nil && h.ID != not {
			return h
		}
	}
	t.Fatal("no other broker runs")
	return nil
}

// Runs reports whether the broker was started and not stopped since.
func (h *Hub) Runs() bool { return h.stop != nil }

// Start runs a broker that was stopped, where it was.
func (h *Hub) Start(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp", h.Addr)
	if err != nil {
		t.Fatal(err)
	}
	h.run(t, ln)
}

func (h *Hub) run(t testing.TB, ln net.Listener) {
	t.Helper()
	h.Registry = prometheus.NewRegistry()
	b, err := broker.Open(h.Config, ln, slog.New(slog.DiscardHandler), h.Registry)
	if err != nil {
		ln.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	h.Broker = b
	h.stop = func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("it did not end")
		}
	}
}

// Stop ends the broker, which must have had no trouble: others lead what it led.
func (h *Hub) Stop(t testing.TB) {
	t.Helper()
	if h.stop == nil {
		return
	}
	stop := h.stop
	h.stop = nil
	if err := stop(); err != nil {
		t.Errorf("broker %d ended with: %v", h.ID, err)
	}
}
