package e2e

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/appliance/process"
)

const (
	compactedKeys   = 25
	compactedRounds = 3
	perRound        = 300     // records of some 20 KiB: six segments
	compactedLeft   = 25 + 70 // of each key one in what is sealed, and an active segment
)

// A compacted topic keeps the last value of each key, at the offset that it was
// acked with, for franz-go and librdkafka, while an idempotent producer goes on,
// over kills. It refuses records without a key, of Kafka's and of NATS' clients.
func TestCompactedTopic(t *testing.T) {
	p := prepare(t, t.TempDir(), "HEADWATER_CLEANER_INTERVAL=100ms", "HEADWATER_CLEANER_BYTES_PER_SECOND=1GiB",
		`HEADWATER_BRIDGE_RULES=[{"subject":"telemetry.>","topic":"state"}]`)
	restart(t, p)
	createCompacted(t, p.Kafka, "state")
	testKeyless(t, p, "state")

	cl, err := kgo.NewClient(kgo.SeedBrokers(p.Kafka), kgo.AlwaysRetryEOF(), kgo.RetryBackoffFn(shortly), kgo.DisableClientMetrics(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.DefaultProduceTopic("state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	rng := rand.New(rand.NewPCG(5, 6))
	acked, want := map[place]string{}, map[string]string{}
	for round := range compactedRounds {
		for i := range perRound {
			r := &kgo.Record{Key: fmt.Append(nil, "key", rng.IntN(compactedKeys))}
			if rng.IntN(10) > 0 {
				r.Value = fmt.Append(nil, round, "/", i, " ", noise(rng, 10<<10))
			}
			if err := cl.ProduceSync(within(t, patience), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			acked[place{0, r.Offset}] = string(r.Key) + "=" + string(r.Value)
			if want[string(r.Key)] = string(r.Value); r.Value == nil {
				delete(want, string(r.Key))
			}
		}
		checkCompacted(t, p, acked, want)
		kill(t, p)
		restart(t, p)
	}
	checkCompacted(t, p, acked, want)
	if n, err := p.Metric(within(t, patience), "headwater_log_gaps_total"); err != nil || n != 0 {
		t.Errorf("%v gaps counted, %v", n, err)
	}
}

// noise is text that no codec makes much smaller than half.
func noise(rng *rand.Rand, bytes int) string {
	b := make([]byte, bytes)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return hex.EncodeToString(b)
}

// checkCompacted waits until the topic is compacted, and compares it with what was
// acked.
func checkCompacted(t *testing.T, p *process.Process, acked map[place]string, want map[string]string) {
	t.Helper()
	ctx := within(t, patience)
	var all []stored
	for all = readCompacted(t, p.Kafka, "state"); len(all) > compactedLeft; all = readCompacted(t, p.Kafka, "state") {
		if ctx.Err() != nil {
			t.Fatalf("%d records are left after %v, want %d at most", len(all), patience, compactedLeft)
		}
	}
	for reader, records := range map[string][]stored{"franz-go": all, "kcat": kcatRead(t, p.Kafka, "state", "-o", "beginning")} {
		got, next := map[string]string{}, int64(0)
		for _, r := range records {
			if r.offset < next || acked[r.place] != r.key+"="+r.value {
				t.Fatalf("%s: at %v is %s=%.20q, after offset %d; acked was %.30q", reader, r.place, r.key, r.value, next-1, acked[r.place])
			}
			next = r.offset + 1
			if got[r.key] = r.value; r.value == "" {
				delete(got, r.key)
			}
		}
		if next != int64(len(acked)) || !maps.Equal(got, want) {
			t.Fatalf("%s: %d keys, up to offset %d; want %d keys, up to %d", reader, len(got), next, len(want), len(acked))
		}
	}
}

// readCompacted reads partition 0 to its last record, past offsets that are gone.
func readCompacted(t *testing.T, address, topic string) (all []stored) {
	t.Helper()
	ctx := within(t, patience)
	asks := client(t, address)
	defer asks.Close()
	end, err := offsets(ctx, asks, topic, -1)
	if err != nil {
		t.Fatal(err)
	}
	cl := client(t, address, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	for next := int64(0); next < end[0]; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("fetch of %s, at %d of %d: %v", topic, next, end[0], err)
		}
		for r := range fetches.RecordsAll() {
			next = r.Offset + 1
			all = append(all, storedOf(r))
		}
	}
	return all
}

// createCompacted creates a topic with cleanup.policy=compact, and has the broker
// describe it so.
func createCompacted(t *testing.T, address, topic string) {
	t.Helper()
	ask := kmsg.NewCreateTopicsRequestTopic()
	ask.Topic, ask.NumPartitions, ask.ReplicationFactor = topic, 1, 1
	settings := map[string]string{"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01"}
	for name, value := range settings {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, &value
		ask.Configs = append(ask.Configs, c)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.TimeoutMillis = append(req.Topics, ask), 10_000
	cl := client(t, address)
	made, err := req.RequestWith(within(t, patience), cl)
	if err == nil {
		err = kerr.ErrorForCode(made.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("create topic %s: %v", topic, err)
	}
	about := kmsg.NewDescribeConfigsRequestResource()
	about.ResourceType, about.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	describe := kmsg.NewPtrDescribeConfigsRequest()
	describe.Resources = append(describe.Resources, about)
	described, err := describe.RequestWith(within(t, patience), cl)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range described.Resources[0].Configs {
		if want, ok := settings[c.Name]; ok && (c.Value == nil || *c.Value != want) {
			t.Errorf("%s is described as %v, want %s", c.Name, c.Value, want)
		}
		delete(settings, c.Name)
	}
	if len(settings) > 0 {
		t.Errorf("not described: %v", settings)
	}
}

// testKeyless has records without a key refused, for good.
func testKeyless(t *testing.T, p *process.Process, topic string) {
	t.Helper()
	for name, c := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "zstd": kgo.ZstdCompression()} {
		cl := client(t, p.Kafka, kgo.ProducerBatchCompression(c))
		err := cl.ProduceSync(within(t, patience), &kgo.Record{Topic: topic, Value: []byte(strings.Repeat("no key ", 50))}).FirstErr()
		if !errors.Is(err, kerr.InvalidRecord) {
			t.Errorf("a record without a key, compressed by %s: %v, want %v", name, err, kerr.InvalidRecord)
		}
	}
	pub := newPublisher(p.NATS, 1)
	one := []message{{subject: "telemetry.press", value: "no key", wantAck: true}}
	err := pub.publish(within(t, patience), func() (m message, ok bool) {
		if len(one) > 0 {
			m, one, ok = one[0], nil, true
		}
		return m, ok
	})
	acked, refused := pub.answers()
	if err != nil || len(acked) > 0 || !strings.Contains(refused[0], "without") {
		t.Errorf("publish without a key: %v, acked %v, refused %v", err, acked, refused)
	}
}
