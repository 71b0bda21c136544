//go:build interop

package clients

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func msTime(ms int64) time.Time { return time.UnixMilli(ms) }

// Which clients these are, for whoever reads what the run printed.
func TestVersions(t *testing.T) {
	for _, c := range all() {
		for _, e := range c.do(t, command{Do: "version"}) {
			t.Logf("%s: %s", c.name, e.Version)
			if e.Version == "" || strings.Contains(e.Version, "unknown") {
				t.Errorf("%s tells no version", c.name)
			}
		}
	}
}

var codecNumbers = map[string]uint8{"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

// What each client writes, in each compression, as an idempotent producer and as a
// plain one, stands where the client was told, as it was sent.
func TestProduce(t *testing.T) {
	const count = 30
	each(t, func(t *testing.T, c client, brokers string) {
		topic := newTopic(t, brokers, 2)
		sent := map[int32]int{}
		send := func(partition int32, prefix string, cmd command) {
			cmd.Do, cmd.Brokers, cmd.Topic, cmd.Partition, cmd.Count, cmd.Prefix, cmd.Time = "produce", brokers, topic, ptr(partition), count, prefix, baseTime
			told := c.do(t, cmd)
			checkTold(t, c, told, partition, int64(sent[partition]), count)
			sent[partition] += count
			checkStored(t, brokers, topic, partition, prefix, cmd.Codec, sent[partition], count)
		}
		for _, codec := range c.codecs {
			send(0, "plain-"+codec, command{Codec: codec})
			if c.idempotent {
				send(1, "idempotent-"+codec, command{Codec: codec, Idempotent: true})
			}
		}
		send(0, "acks1", command{Codec: "none", Acks: ptr(int16(1))})
	})
}

func checkTold(t *testing.T, c client, told []event, partition int32, from int64, count int) {
	t.Helper()
	want := count
	if c.keepsBase {
		want = 1
	}
	if len(told) != want {
		t.Fatalf("%d places were told, want %d: %+v", len(told), want, told)
	}
	seen := map[int64]bool{}
	for _, e := range told {
		if e.Partition != partition || e.Offset < from || e.Offset >= from+int64(count) || seen[e.Offset] {
			t.Errorf("told partition %d, offset %d; the records are in %d from %d on", e.Partition, e.Offset, partition, from)
		}
		seen[e.Offset] = true
	}
}

func checkStored(t *testing.T, brokers, topic string, partition int32, prefix, codec string, total, count int) {
	t.Helper()
	records := stored(t, brokers, topic, partition, total)
	got := records[total-count:]
	for i, want := range expected(topic, partition, prefix, count) {
		r := got[i]
		if string(r.Key) != string(want.Key) || string(r.Value) != string(want.Value) || !r.Timestamp.Equal(want.Timestamp) {
			t.Fatalf("offset %d: %s=%s at %v, want %s=%s at %v", r.Offset, r.Key, r.Value, r.Timestamp, want.Key, want.Value, want.Timestamp)
		}
		if r.Attrs.CompressionType() != codecNumbers[codec] {
			t.Fatalf("offset %d: compression %d, want %s", r.Offset, r.Attrs.CompressionType(), codec)
		}
	}
}

// A producer that wants transactions is told that there are none.
func TestTransactional(t *testing.T) {
	each(t, func(t *testing.T, c client, brokers string) {
		if !c.transacts {
			return // this client has none
		}
		topic := newTopic(t, brokers, 1)
		got := c.try(t, command{Do: "produce", Brokers: brokers, Topic: topic, Codec: "none", Count: 1, Prefix: "t", Time: baseTime, Transaction: "tx-" + c.name})
		t.Logf("%s: %s", c.name, got)
		if got == "" {
			t.Errorf("a transaction was begun, and a record sent in it")
		}
	})
}

var fillCodecs = []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
