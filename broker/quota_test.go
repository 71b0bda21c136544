package broker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/quota"
)

// throttles adds up what franz-go was told to wait.
type throttles struct {
	mu    sync.Mutex
	total time.Duration
}

// OnBrokerThrottle implements kgo.HookBrokerThrottle.
func (h *throttles) OnBrokerThrottle(_ kgo.BrokerMetadata, d time.Duration, _ bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total += d
}

func (h *throttles) told() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.total
}

func connect(t *testing.T, box *brokertest.Box, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(box.Addr))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// setFetchRate gives a client id a rate as an administrator does.
func setFetchRate(t *testing.T, box *brokertest.Box, clientID string, rate float64) {
	t.Helper()
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.Entries = []kmsg.AlterClientQuotasRequestEntry{{
		Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "client-id", Name: &clientID}},
		Ops:    []kmsg.AlterClientQuotasRequestEntryOp{{Key: "consumer_byte_rate", Value: rate}},
	}}
	resp, err := req.RequestWith(t.Context(), connect(t, box))
	if err != nil || len(resp.Entries) != 1 || resp.Entries[0].ErrorCode != 0 {
		t.Fatalf("set the rate: %+v, %v", resp, err)
	}
}

// consume reads n records of a topic from its start, and says how long it took.
func consume(ctx context.Context, t *testing.T, box *brokertest.Box, n int, opts ...kgo.Opt) time.Duration {
	start := time.Now()
	c := connect(t, box, append(opts, kgo.ConsumeTopics("press"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	next := map[int32]int64{}
	for got := 0; got < n; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Errorf("after %d of %d records: %v", got, n, err)
			return 0
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next[r.Partition] {
				t.Errorf("partition %d: offset %d, want %d", r.Partition, r.Offset, next[r.Partition])
			}
			next[r.Partition] = r.Offset + 1
			got++
		})
	}
	return time.Since(start)
}

// A consumer that is held to a rate takes as long as it must, is told so, and loses
// nothing; another client id beside it is not held up. The rate outlives a restart.
func TestFetchRate(t *testing.T) {
	const (
		rate  = 1 << 20
		total = 13 << 20 // ten seconds' worth is free at the start
		size  = 32 << 10
	)
	cfg := brokertest.Config(t.TempDir())
	box := brokertest.Start(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	producer := connect(t, box, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	var records []*kgo.Record
	for i := range total / size {
		records = append(records, &kgo.Record{Topic: "press", Value: fmt.Appendf(make([]byte, size-8), "%08d", i)})
	}
	if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	setFetchRate(t, box, "greedy", rate)

	for _, when := range []string{"set", "after a restart"} {
		var greedy, other time.Duration
		told := &throttles{}
		var both sync.WaitGroup
		both.Go(func() {
			greedy = consume(ctx, t, box, len(records), kgo.ClientID("greedy"), kgo.WithHooks(told))
		})
		both.Go(func() { other = consume(ctx, t, box, len(records), kgo.ClientID("other")) })
		both.Wait()
		t.Logf("%s: %v with a rate, %v without; told to wait %v", when, greedy, other, told.told())
		if least := (total - 11*rate) * time.Second / rate; greedy < least || greedy > least+6*time.Second { // the last second's worth is paid afterwards
			t.Errorf("%s: the one with a rate took %v, want some %v", when, greedy, least)
		}
		if other > greedy/2 {
			t.Errorf("%s: the other took %v, as if it had a rate too", when, other)
		}
		if told.told() == 0 {
			t.Errorf("%s: nobody was told to wait", when)
		}
		if when == "set" {
			box.Stop(t)
			box = brokertest.Start(t, cfg)
		}
	}
}

// wireBytes counts what a client sends and gets of fetches.
type wireBytes struct {
	mu              sync.Mutex
	requests, bytes int
	read            int
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (h *wireBytes) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	if key != 1 || e.Err() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests++
	h.bytes += e.BytesWritten
	h.read += e.BytesRead
}

func (h *wireBytes) take() (requests, sent, got int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	requests, sent, got = h.requests, h.bytes, h.read
	h.requests, h.bytes, h.read = 0, 0, 0
	return requests, sent, got
}

// A consumer of 1,000 partitions names them once, and is told only of those that have
// records: with a session, a poll of all that is idle is some 100 bytes.
func TestThousandPartitionsInASession(t *testing.T) {
	const partitions = 1000
	cfg := brokertest.Config(t.TempDir())
	cfg.MaxPartitions = partitions
	box := brokertest.Start(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	admin := connect(t, box)
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "press", NumPartitions: partitions, ReplicationFactor: 1}}
	create.TimeoutMillis = 60000
	if resp, err := create.RequestWith(ctx, admin); err != nil || resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("create: %+v, %v", resp, err)
	}
	for name, opts := range map[string][]kgo.Opt{"session": nil, "sessionless": {kgo.DisableFetchSessions()}} {
		t.Run(name, func(t *testing.T) {
			count := &wireBytes{}
			c := connect(t, box, append(opts, kgo.ConsumeTopics("press"), kgo.WithHooks(count), kgo.FetchMaxWait(100*time.Millisecond),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))...)
			for small := name != "session"; small != (name == "session"); {
				polled, polling := context.WithTimeout(ctx, 500*time.Millisecond)
				c.PollFetches(polled)
				polling()
				if ctx.Err() != nil {
					t.Fatal("idle fetches do not come to what they should send and get")
				}
				requests, sent, got := count.take()
				if requests == 0 {
					continue // it still looks for the offsets to start from
				}
				small = sent/requests < 200 && got/requests < 200
				t.Logf("%d idle fetches of %d bytes, answered with %d", requests, sent/requests, got/requests)
			}
			if err := admin.ProduceSync(ctx, &kgo.Record{Topic: "press", Value: []byte("21.5")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if fetches := c.PollFetches(ctx); fetches.NumRecords() != 1 || fetches.Err() != nil {
				t.Errorf("%d records, %v", fetches.NumRecords(), fetches.Err())
			}
		})
	}
}

// The rates of the configuration are those of every client.
func TestConfiguredRates(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	cfg.ClientRates = quota.Rates{quota.Produce: 1000}
	box := brokertest.Start(t, cfg)
	told := &throttles{}
	c := connect(t, box, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.WithHooks(told))
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "press", Value: make([]byte, 11000)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := told.told(); got < time.Second || got > 2*time.Second {
		t.Errorf("told to wait %v, want some second", got)
	}
}
