package bridge

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"
)

// numbers are the payloads of messages, which publish made numbers.
func numbers(t *testing.T, messages ...jetstream.Msg) (all []int) {
	t.Helper()
	for _, m := range messages {
		n, err := strconv.Atoi(string(m.Data()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// batch is all messages of a fetch.
func batch(t *testing.T, b jetstream.MessageBatch, err error) (all []jetstream.Msg) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for m := range b.Messages() {
		all = append(all, m)
	}
	if err := b.Error(); err != nil {
		t.Fatal(err)
	}
	return all
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

func wantNumbers(t *testing.T, what string, got []int, want ...int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func newConsumer(t *testing.T, js jetstream.JetStream, cfg jetstream.ConsumerConfig) jetstream.Consumer {
	t.Helper()
	c, err := js.CreateOrUpdateConsumer(t.Context(), "telemetry-0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A nats.go client fetches by all its ways, acknowledges by all its ways, and is told
// of what comes again.
func TestConsumerOfJetStreamClient(t *testing.T) {
	s := serveSite(t, testConfig())
	_, js := s.jetStream(t)
	publish(t, js, 20)
	c := newConsumer(t, js, jetstream.ConsumerConfig{Durable: "readers", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second})

	fetched, err := c.Fetch(3)
	first := batch(t, fetched, err)
	wantNumbers(t, "Fetch", numbers(t, first...), 0, 1, 2)
	meta, err := first[1].Metadata()
	if err != nil || meta.Stream != "telemetry-0" || meta.Consumer != "readers" || meta.Sequence.Stream != 2 || meta.Sequence.Consumer != 2 || meta.NumDelivered != 1 || meta.NumPending != 18 {
		t.Errorf("metadata %+v, error %v", meta, err)
	}
	if subject := first[1].Subject(); subject != "telemetry.d1.temp" {
		t.Errorf("subject %q", subject)
	}
	if err := first[0].DoubleAck(t.Context()); err != nil {
		t.Errorf("DoubleAck: %v", err)
	}
	if at := s.committed(t, "readers", "telemetry", 0); at != 1 {
		t.Errorf("committed offset %d when the acknowledgement was answered, want 1", at)
	}
	if err := errors.Join(first[1].TermWithReason("broken"), first[2].Nak()); err != nil {
		t.Fatal(err)
	}
	again, err := c.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, "Next", numbers(t, again), 2)
	if err := again.NakWithDelay(50 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	fetched, err = c.FetchNoWait(100)
	rest := batch(t, fetched, err)
	wantNumbers(t, "FetchNoWait", numbers(t, rest...), upTo(20)[3:]...)
	for _, m := range rest {
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if again, err = c.Next(jetstream.FetchMaxWait(patience)); err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, "after its delay", numbers(t, again), 2)
	if meta, err := again.Metadata(); err != nil || meta.NumDelivered != 3 {
		t.Errorf("after its delay: %+v, error %v", meta, err)
	}
	if err := again.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, js, 3)
	fetched, err = c.Fetch(3, jetstream.FetchMaxWait(patience))
	late := batch(t, fetched, err)
	for i := range 2 {
		if err := late[i].DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	redelivered, err := c.Next(jetstream.FetchMaxWait(patience)) // after AckWait
	if err != nil {
		t.Fatal(err)
	}
	if meta, err := redelivered.Metadata(); err != nil || meta.NumDelivered != 2 || meta.Sequence.Stream != 23 {
		t.Errorf("comes again: %+v, error %v", meta, err)
	}
	if err := errors.Join(redelivered.InProgress(), redelivered.DoubleAck(t.Context())); err != nil {
		t.Fatal(err)
	}
	info, err := c.Info(t.Context())
	if err != nil || info.AckFloor.Stream != 23 || info.NumAckPending != 0 || info.NumPending != 0 || info.Delivered.Stream != 23 {
		t.Errorf("info %+v, error %v", info, err)
	}
	if _, err := c.Next(jetstream.FetchMaxWait(100 * time.Millisecond)); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("Next with nothing there: %v", err)
	}
}

// committed is a group's offset, -1 when there is none.
func (s *site) committed(t *testing.T, group, topic string, partition int32) int64 {
	t.Helper()
	at := int64(-1)
	if err := s.box.Positions(group, func(inTopic string, inPartition int32, offset int64, _ string) {
		if inTopic == topic && inPartition == partition {
			at = offset
		}
	}); err != nil {
		t.Fatal(err)
	}
	return at
}

// Bytes bound a fetch; filters choose; max_deliver ends.
func TestConsumerLimitsOfJetStreamClient(t *testing.T) {
	s := serveSite(t, testConfig())
	nc, js := s.jetStream(t)
	publish(t, js, 12)
	c := newConsumer(t, js, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{"telemetry.d1.*"}})
	fetched, err := c.Fetch(10, jetstream.FetchMaxWait(200*time.Millisecond))
	wantNumbers(t, "filtered", numbers(t, batch(t, fetched, err)...), 1, 4, 7, 10)

	c = newConsumer(t, js, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 3})
	fetched, err = c.FetchBytes(1000, jetstream.FetchMaxWait(patience))
	all := batch(t, fetched, err)
	if n := len(all); n < 2 || n > 9 {
		t.Errorf("%d messages in 1,000 bytes", n)
	}
	size := 0
	for i, m := range all {
		if numbers(t, m)[0] != i+2 {
			t.Errorf("message %d is %s", i, m.Data())
		}
		size += len(m.Subject()) + len(m.Reply()) + len(m.Data())
	}
	if size > 1000 {
		t.Errorf("%d bytes", size)
	}

	events, err := nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>")
	if err != nil {
		t.Fatal(err)
	}
	c = newConsumer(t, js, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, AckWait: 50 * time.Millisecond, MaxDeliver: 2, DeliverPolicy: jetstream.DeliverLastPolicy})
	for want := uint64(1); want <= 2; want++ {
		m, err := c.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		if meta, err := m.Metadata(); err != nil || meta.NumDelivered != want || meta.Sequence.Stream != 12 {
			t.Errorf("delivery %d: %+v, error %v", want, meta, err)
		}
	}
	if _, err := events.NextMsg(patience); err != nil {
		t.Errorf("nobody is told that a message was given up: %v", err)
	}
	if _, err := c.Next(jetstream.FetchMaxWait(200 * time.Millisecond)); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("after max_deliver: %v", err)
	}
}

// Consume and Messages take what there is and what comes, over many pulls.
func TestConsumeOfJetStreamClient(t *testing.T) {
	s := serveSite(t, testConfig())
	_, js := s.jetStream(t)
	const n = 300
	publish(t, js, n/2)
	c := newConsumer(t, js, jetstream.ConsumerConfig{Durable: "consume", AckPolicy: jetstream.AckExplicitPolicy})
	got := make(chan int, n)
	consuming, err := c.Consume(func(m jetstream.Msg) {
		v, _ := strconv.Atoi(string(m.Data()))
		got <- v
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
	}, jetstream.PullMaxMessages(50), jetstream.PullExpiry(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	publish(t, js, n/2)
	want := append(upTo(n/2), upTo(n/2)...)
	for i := range n {
		select {
		case v := <-got:
			if v != want[i] {
				t.Fatalf("message %d is %d, want %d", i, v, want[i])
			}
		case <-time.After(patience):
			t.Fatalf("message %d does not come", i)
		}
	}
	consuming.Stop()

	c = newConsumer(t, js, jetstream.ConsumerConfig{AckPolicy: jetstream.AckAllPolicy})
	messages, err := c.Messages(jetstream.PullMaxMessages(20))
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for i := range n {
		m, err := messages.Next(jetstream.NextMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		if v := numbers(t, m)[0]; v != want[i] {
			t.Fatalf("message %d is %d, want %d", i, v, want[i])
		}
		if i == n-1 {
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if info, err := c.Info(t.Context()); err != nil || info.NumAckPending != 0 || info.AckFloor.Stream != n {
		t.Errorf("info %+v, error %v", info, err)
	}
}

// An ordered consumer begins where it is told, sees every message once and in order,
// also when its consumer is taken away under it.
func TestOrderedConsumerOfJetStreamClient(t *testing.T) {
	s := serveSite(t, testConfig())
	_, js := s.jetStream(t)
	publish(t, js, 100)
	c, err := js.OrderedConsumer(t.Context(), "telemetry-0", jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 11})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(7), jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for want := 10; want < 100; want++ {
		if want == 50 {
			lister := s.consumerNames(t, js)
			if len(lister) != 1 {
				t.Fatalf("consumers %q, want one", lister)
			}
			if err := js.DeleteConsumer(t.Context(), "telemetry-0", lister[0]); err != nil {
				t.Fatal(err)
			}
		}
		m, err := messages.Next(jetstream.NextMaxWait(patience))
		if err != nil {
			t.Fatalf("message %d: %v", want, err)
		}
		wantNumbers(t, "ordered", numbers(t, m), want)
	}
}

func (s *site) consumerNames(t *testing.T, js jetstream.JetStream) (names []string) {
	t.Helper()
	st, err := js.Stream(t.Context(), "telemetry-0")
	if err != nil {
		t.Fatal(err)
	}
	lister := st.ConsumerNames(t.Context())
	for name := range lister.Name() {
		names = append(names, name)
	}
	if err := lister.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

// Two clients that share a durable consumer get each message between them, once.
func TestTwoClientsShareAConsumer(t *testing.T) {
	s := serveSite(t, testConfig())
	_, js := s.jetStream(t)
	publish(t, js, 1) // makes the topic
	const n = 400
	var mu sync.Mutex
	seen := map[int]int{}
	by := [2]int{}
	done := make(chan struct{})
	for i := range 2 {
		_, js := s.jetStream(t)
		c := newConsumer(t, js, jetstream.ConsumerConfig{Durable: "shared", AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverNewPolicy})
		consuming, err := c.Consume(func(m jetstream.Msg) {
			v, _ := strconv.Atoi(string(m.Data()))
			mu.Lock()
			seen[v]++
			by[i]++
			complete := len(seen) == n
			mu.Unlock()
			if err := m.Ack(); err != nil {
				t.Error(err)
			}
			if complete {
				close(done)
			}
		}, jetstream.PullMaxMessages(20))
		if err != nil {
			t.Fatal(err)
		}
		defer consuming.Stop()
	}
	publish(t, js, n)
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%d of %d messages came", len(seen), n)
	}
	mu.Lock()
	defer mu.Unlock()
	for v, times := range seen {
		if times != 1 {
			t.Errorf("message %d came %d times", v, times)
		}
	}
	if by[0] < n/4 || by[1] < n/4 {
		t.Errorf("one got %d messages, the other %d", by[0], by[1])
	}
}

// A durable consumer outlives the bridge: its client, which connects again by itself,
// goes on, without a message twice that it acknowledged and without one less.
func TestDurableOutlivesTheBridge(t *testing.T) {
	cfg := testConfig()
	s := serveSite(t, cfg)
	_, js := s.jetStream(t)
	publish(t, js, 10)
	c := newConsumer(t, js, jetstream.ConsumerConfig{Durable: "keeps", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 500 * time.Millisecond, Description: "line 7"})
	fetched, err := c.Fetch(5)
	for i, m := range batch(t, fetched, err) {
		if i != 2 {
			if err := m.Ack(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if info, err := c.Info(t.Context()); err != nil || info.NumAckPending != 1 { // the acknowledgements have arrived
		t.Fatalf("%+v, %v", info, err)
	}
	s.again(t, cfg)
	_, js = s.jetStream(t)
	if c, err = js.Consumer(t.Context(), "telemetry-0", "keeps"); err != nil {
		t.Fatal(err)
	}
	if info := c.CachedInfo(); info.Config.Description != "line 7" || info.AckFloor.Stream != 2 || info.NumAckPending != 1 {
		t.Errorf("after a restart: %+v", info)
	}
	var got []int
	for len(got) < 6 {
		m, err := c.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, numbers(t, m)[0])
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(got)
	wantNumbers(t, "after a restart", got, 2, 5, 6, 7, 8, 9)
	if _, err := c.Next(jetstream.FetchMaxWait(700 * time.Millisecond)); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("more comes: %v", err)
	}
	if at := s.committed(t, "keeps", "telemetry", 0); at != 10 {
		t.Errorf("committed offset %d, want 10", at)
	}
	if err := js.DeleteConsumer(t.Context(), "telemetry-0", "keeps"); err != nil {
		t.Fatal(err)
	}
	if at := s.committed(t, "keeps", "telemetry", 0); at != -1 {
		t.Errorf("the group of a deleted consumer has offset %d", at)
	}
}

// again stops the bridge, and starts another over the same broker.
func (s *site) again(t *testing.T, cfg Config) {
	t.Helper()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	cfg.Unknown, cfg.OutOfRange = s.cfg.Unknown, s.cfg.OutOfRange
	s.run(t, cfg, s.box)
}

// A name that a Kafka group with members has is refused.
func TestConsumerWithAKafkaGroupsName(t *testing.T) {
	s := serveSite(t, testConfig())
	_, js := s.jetStream(t)
	publish(t, js, 3)
	member, err := kgo.NewClient(kgo.SeedBrokers(s.box.Addr), kgo.ConsumerGroup("kafkas"), kgo.ConsumeTopics("telemetry"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	if fetches := member.PollFetches(t.Context()); fetches.NumRecords() == 0 {
		t.Fatal(fetches.Err())
	}
	_, err = js.CreateOrUpdateConsumer(t.Context(), "telemetry-0", jetstream.ConsumerConfig{Durable: "kafkas", AckPolicy: jetstream.AckExplicitPolicy})
	var refused *jetstream.APIError
	if !errors.As(err, &refused) || refused.ErrorCode != 10012 {
		t.Fatalf("error %v, want a refusal", err)
	}
	t.Log(refused.Description)
	if fmt.Sprint(s.consumerNames(t, js)) != "[]" {
		t.Error("it is there all the same")
	}
}

// BenchmarkConsume is what it costs to give a message to a nats.go client.
func BenchmarkConsume(b *testing.B) {
	for name, policy := range map[string]jetstream.AckPolicy{"none": jetstream.AckNonePolicy, "explicit": jetstream.AckExplicitPolicy} {
		b.Run(name, func(b *testing.B) { benchmarkConsume(b, policy) })
	}
}

func benchmarkConsume(b *testing.B, policy jetstream.AckPolicy) {
	s := serveSite(b, testConfig())
	_, js := s.jetStream(b)
	payload := make([]byte, 128)
	for range b.N {
		if _, err := js.PublishAsync("telemetry.d1.temp", payload); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	c, err := js.CreateOrUpdateConsumer(b.Context(), "telemetry-0", jetstream.ConsumerConfig{AckPolicy: policy, MaxAckPending: 10_000})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	done, n := make(chan struct{}), 0
	consuming, err := c.Consume(func(m jetstream.Msg) {
		if policy != jetstream.AckNonePolicy {
			if err := m.Ack(); err != nil {
				b.Error(err)
			}
		}
		if n++; n == b.N {
			close(done)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	<-done
	consuming.Stop()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
