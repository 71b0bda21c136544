package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/process"
)

const (
	killRounds     = 10
	killPartitions = 2
)

// Killed again and again under load from Kafka and NATS, the process loses
// nothing that it acked, and never gives an offset that a reader has seen to
// another record.
func TestKillLoop(t *testing.T) {
	p := start(t)
	createTopic(t, p.Kafka, "readings", killPartitions)
	createTopic(t, p.Kafka, "telemetry", 1)
	producer := startProducer(t, p.Kafka)
	watchers := map[string]*watcher{"readings": watch(t, p.Kafka, "readings"), "telemetry": watch(t, p.Kafka, "telemetry")}
	var loads []*load

	rng := rand.New(rand.NewPCG(1, 2))
	for round := range killRounds {
		if round > 0 {
			restart(t, p)
		}
		l := startLoad(within(t, 3*patience), p.NATS, 2)
		loads = append(loads, l)
		onNATS := func() { l.acks.awaitMore(t, p, 100+rng.Int64N(1000), "acks on NATS") }
		onKafka := func() { producer.acks.awaitMore(t, p, 100+rng.Int64N(5000), "acks on Kafka") }
		// The kill follows an ack of the one side, at any moment of the other.
		if round%2 == 0 {
			onNATS()
			onKafka()
		} else {
			onKafka()
			onNATS()
		}
		kill(t, p)
		l.running.Wait()
	}
	restart(t, p)
	producer.stop(t)

	telemetry := readAll(t, p.Kafka, "telemetry")
	for _, l := range loads {
		l.check(t, telemetry)
	}
	readings := readAll(t, p.Kafka, "readings")
	producer.check(t, readings)
	watchers["telemetry"].check(t, p, telemetry)
	watchers["readings"].check(t, p, readings)
}

// producer produces with acks=all, as many records in flight as franz-go likes,
// over all that happens to the process.
type producer struct {
	cl     *kgo.Client
	cancel context.CancelFunc
	ended  chan struct{}
	acks   *progress

	mu       sync.Mutex // guards all below
	acked    map[place]string
	failures []string
}

func startProducer(t *testing.T, address string) *producer {
	ctx, cancel := context.WithCancel(t.Context())
	p := &producer{
		cl:     client(t, address, kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MaxBufferedRecords(200), kgo.RetryBackoffFn(shortly)),
		cancel: cancel, ended: make(chan struct{}), acks: newProgress(), acked: map[place]string{},
	}
	t.Cleanup(func() { cancel(); p.cl.Close(); <-p.ended })
	go func() {
		defer close(p.ended)
		for i := 0; ctx.Err() == nil; i++ {
			r := &kgo.Record{Topic: "readings", Partition: int32(i % killPartitions), Value: fmt.Append(nil, i)}
			p.cl.Produce(context.WithoutCancel(ctx), r, p.done) // waits while too many are in flight
		}
	}()
	return p
}

// shortly is how long clients wait before they try again a process that was
// killed.
func shortly(int) time.Duration { return 20 * time.Millisecond }

func (p *producer) done(r *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := place{r.Partition, r.Offset}
	before, taken := p.acked[at]
	switch {
	case err != nil:
		p.failures = append(p.failures, fmt.Sprintf("record %q was given up: %v", r.Value, err))
	case taken:
		p.failures = append(p.failures, fmt.Sprintf("%v was acked for %q and for %q", at, before, r.Value))
	default:
		p.acked[at] = string(r.Value)
		p.acks.add(1)
	}
}

// stop waits until all that was produced is answered.
func (p *producer) stop(t *testing.T) {
	t.Helper()
	p.cancel()
	wait(t, p.ended, "the producer does not end")
	if err := p.cl.Flush(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, failure := range p.failures {
		t.Error(failure)
	}
}

func (p *producer) check(t *testing.T, records []stored) {
	t.Helper()
	index := byPlace(records)
	lost := 0
	for at, value := range p.acked {
		if got, ok := index[at]; !ok || got.value != value {
			lost++
			t.Logf("record %q was acked at %v, where %q is", value, at, got.value)
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acked records are not where they should be", lost, len(p.acked))
	}
	t.Logf("%d records acked, %d stored", len(p.acked), len(records))
}

// watcher reads a topic all the time, and remembers what it saw.
type watcher struct {
	topic  string
	cancel context.CancelFunc
	ended  chan struct{}
	sights *progress        // how many records were seen
	seen   map[place]stored // the goroutine's until ended is closed
}

func watch(t *testing.T, address, topic string) *watcher {
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{topic: topic, cancel: cancel, ended: make(chan struct{}), sights: newProgress(), seen: map[place]stored{}}
	cl := client(t, address, kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(100*time.Millisecond), kgo.RetryBackoffFn(shortly))
	t.Cleanup(func() { cancel(); <-w.ended })
	go func() {
		defer close(w.ended)
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			fetches.EachError(func(topic string, partition int32, err error) {
				if ctx.Err() == nil {
					t.Errorf("reader of %s-%d: %v", topic, partition, err)
					cancel()
				}
			})
			for r := range fetches.RecordsAll() {
				w.take(t, storedOf(r))
			}
		}
	}()
	return w
}

func (w *watcher) take(t *testing.T, r stored) {
	if before, again := w.seen[r.place]; again && (before.value != r.value || before.key != r.key) {
		t.Errorf("%s, %v: was %q, and became %q", w.topic, r.place, before.value, r.value)
	}
	w.seen[r.place] = r
	w.sights.add(1)
}

// check lets the watcher come to the end, and holds what it saw against what is
// stored.
func (w *watcher) check(t *testing.T, p *process.Process, records []stored) {
	t.Helper()
	select {
	case <-w.ended:
		return // it has said why
	default:
	}
	early, _ := w.sights.get()
	w.sights.await(t, p, int64(len(records)), "records of "+w.topic)
	w.cancel()
	wait(t, w.ended, "the reader does not end")
	index := byPlace(records)
	for at, saw := range w.seen {
		if now, ok := index[at]; !ok || now.value != saw.value || now.key != saw.key || now.timestamp != saw.timestamp {
			t.Errorf("%s, %v: a reader saw %q, now there is %q", w.topic, at, saw.value, now.value)
		}
	}
	t.Logf("%s: a reader saw %d records of %d while they came", w.topic, early, len(records))
}
