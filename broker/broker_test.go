package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// put appends values as one batch, as the bridge does, and waits until they are
// durable.
func put(t *testing.T, b *brokertest.Box, topicName string, values ...string) (baseOffset int64) {
	t.Helper()
	if _, err := b.Partitions(t.Context(), topicName); err != nil {
		t.Fatal(err)
	}
	var bu record.Builder
	for _, v := range values {
		bu.Add(1000, nil, []byte(v), nil)
	}
	type stored struct {
		baseOffset int64
		err        error
	}
	done := make(chan stored, 1)
	b.Append(topicName, 0, bu.Batch(), func(baseOffset int64, err error) { done <- stored{baseOffset, err} })
	s := <-done
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.baseOffset
}

// get reads n values from the topic's start, as a Kafka consumer does.
func get(t *testing.T, b *brokertest.Box, topicName string, n int) (values []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topicName: {0: kgo.NewOffset().AtStart()},
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for len(values) < n {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != int64(len(values)) {
				t.Errorf("offset %d, want %d", r.Offset, len(values))
			}
			values = append(values, string(r.Value))
		})
	}
	return values
}

// What the bridge appends, a Kafka consumer reads; and again after a restart,
// where offsets go on.
func TestRestart(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	var want []string
	for life := range 3 {
		b := brokertest.Start(t, cfg)
		if err := b.Ready(); err != nil {
			t.Logf("life %d: %v", life, err) // Run may not have got that far
		}
		values := []string{fmt.Sprintf("life %d, first", life), fmt.Sprintf("life %d, second", life)}
		if got := put(t, b, "press", values...); got != int64(len(want)) {
			t.Errorf("life %d: base offset %d, want %d", life, got, len(want))
		}
		want = append(want, values...)
		if got := get(t, b, "press", len(want)); !slices.Equal(got, want) {
			t.Errorf("life %d: read %q, want %q", life, got, want)
		}
		b.Stop(t)
	}
}

// Without its list of topics the broker finds them on disk.
func TestListOfTopicsLost(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":  os.Remove,
		"torn":  func(path string) error { return os.Truncate(path, 20) },
		"zeros": func(path string) error { return os.WriteFile(path, make([]byte, 100), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := brokertest.Config(t.TempDir())
			b := brokertest.Start(t, cfg)
			put(t, b, "press", "a", "b")
			b.Stop(t)
			if err := damage(filepath.Join(cfg.DataDir, "headwater.topics.json")); err != nil {
				t.Fatal(err)
			}
			b = brokertest.Start(t, cfg)
			if got := put(t, b, "press", "c"); got != 2 {
				t.Errorf("appended at offset %d, want 2", got)
			}
			if got, want := get(t, b, "press", 3), []string{"a", "b", "c"}; !slices.Equal(got, want) {
				t.Errorf("read %q, want %q", got, want)
			}
		})
	}
}

func TestAppendRefused(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	cfg.AutoCreateTopics = false
	b := brokertest.Start(t, cfg)
	if _, err := b.Partitions(t.Context(), "press"); !errors.Is(err, broker.ErrNoAutoCreate) {
		t.Errorf("unknown topic: %v, want %v", err, broker.ErrNoAutoCreate)
	}
	var bu record.Builder
	bu.Add(1, nil, []byte("v"), nil)
	b.Append("press", 0, bu.Batch(), func(_ int64, err error) {
		if !errors.Is(err, partition.ErrUnknown) {
			t.Errorf("append to it: %v, want %v", err, partition.ErrUnknown)
		}
	})
}

// Topics that a setting names are not those that devices may cause only so many of.
func TestDeviceTopicsAreBounded(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	cfg.MaxDeviceTopics, cfg.NamedTopics = 1, []string{"telemetry"}
	b := brokertest.Start(t, cfg)
	for _, name := range []string{"press1", "telemetry", "press1"} {
		if _, err := b.Partitions(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.Partitions(t.Context(), "press2"); !errors.Is(err, cluster.ErrTooManyDeviceTopics) {
		t.Errorf("one too many: %v, want %v", err, cluster.ErrTooManyDeviceTopics)
	}
	if _, exists := b.PartitionCount("press2"); exists {
		t.Error("press2 was made")
	}
	if n, exists := b.PartitionCount("telemetry"); !exists || n != 1 {
		t.Errorf("telemetry has %d partitions (%v), want 1", n, exists)
	}
}

func TestPartitionsRefused(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	cfg.MaxPartitions = 1
	b := brokertest.Start(t, cfg)
	if _, err := b.Partitions(context.Background(), "bad/name"); !errors.Is(err, topic.ErrInvalidName) {
		t.Errorf("bad name: %v, want %v", err, topic.ErrInvalidName)
	}
	put(t, b, "first", "v")
	if _, err := b.Partitions(t.Context(), "second"); !errors.Is(err, cluster.ErrTooManyPartitions) {
		t.Errorf("one too many: %v, want %v", err, cluster.ErrTooManyPartitions)
	}
}

// A data directory has one process at a time.
func TestDataDirectoryHeld(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	brokertest.Start(t, cfg)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := broker.Open(cfg, ln, slog.New(slog.DiscardHandler), nil); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("second broker: %v, want %v", err, disk.ErrLocked)
	}
}

func TestAdvertise(t *testing.T) {
	for address, ok := range map[string]bool{"box.example:19092": true, "": true, "box.example": false, "box:0": false, "box:kafka": false, "box:70000": false} {
		cfg := brokertest.Config(t.TempDir())
		cfg.Advertise = address
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		b, err := broker.Open(cfg, ln, slog.New(slog.DiscardHandler), nil)
		if (err == nil) != ok {
			t.Errorf("advertise %q: %v, want allowed %v", address, err, ok)
		}
		ln.Close()
		if err == nil {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			b.Run(ctx) // lets go of the directory
		}
	}
}
