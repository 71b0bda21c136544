package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/appliance/e2e/region/checker"
)

// Config says what is produced and read.
type Config struct {
	Addresses    []string // of brokers
	Topic        string   // there is one
	Partitions   int32
	Producers    int      // half of them have short lives, if there are two or more
	Rate         int      // records a second of each producer
	Readers      int      // each reads all
	Racks        []string // of the readers, from the first on: who has one reads at its own rack
	GroupReaders int      // share a group
	LeaderAck    bool     // acks=1, by producers without an id
	Seed         uint64
}

// Run is a workload that runs.
type Run struct {
	cfg       Config
	of        *Recorder
	alone     *progress // of readers by themselves
	grouped   *progress
	stopSend  context.CancelFunc
	stopWait  context.CancelFunc
	stopRead  context.CancelFunc
	producing sync.WaitGroup
	reading   sync.WaitGroup

	mu   sync.Mutex // guards errs
	errs []error
}

// Start starts producers and readers.
func Start(ctx context.Context, cfg Config, of *Recorder) *Run {
	w := &Run{cfg: cfg, of: of, alone: newProgress(), grouped: newProgress()}
	var send, patience, read context.Context
	patience, w.stopWait = context.WithCancel(ctx)
	send, w.stopSend = context.WithCancel(patience)
	read, w.stopRead = context.WithCancel(ctx)
	var clients atomic.Int64
	for i := range cfg.Producers {
		p := &producer{
			cfg: cfg, of: of, rng: rand.New(rand.NewPCG(cfg.Seed, uint64(i))), short: i%2 == 1,
			clients: func() int { return int(clients.Add(1)) },
		}
		w.producing.Go(func() { w.failed(p.run(send, patience)) })
	}
	for i := range cfg.Readers {
		r := &reader{cfg: cfg, of: of, client: i + 1, seen: w.alone}
		if i < len(cfg.Racks) {
			r.rack = cfg.Racks[i]
		}
		w.reading.Go(func() { w.failed(r.run(read)) })
	}
	for i := range cfg.GroupReaders {
		r := &reader{cfg: cfg, of: of, client: 100 + i, group: 1, seen: w.grouped}
		w.reading.Go(func() { w.failed(r.run(read)) })
	}
	return w
}

func (w *Run) failed(err error) {
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.errs = append(w.errs, err)
	}
}

// Close ends all that runs.
func (w *Run) Close() {
	w.stopWait()
	w.stopRead()
	w.producing.Wait()
	w.reading.Wait()
}

// Finish stops the producers, waits until what they sent is answered and the readers
// have come to the end, reads all that is stored, and returns what is wrong. The cluster
// must be well again.
func (w *Run) Finish(ctx context.Context) (*checker.Report, error) {
	defer w.Close()
	w.stopSend()
	defer context.AfterFunc(ctx, w.stopWait)() // Close waits for no answer longer
	w.producing.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("producers do not get answers: %w", ctx.Err())
	}
	ends, err := w.readAll(ctx)
	if err != nil {
		return nil, err
	}
	for what, p := range map[string]*progress{"readers": w.alone, "a group": w.grouped} {
		if what == "readers" && w.cfg.Readers == 0 || what == "a group" && w.cfg.GroupReaders == 0 {
			continue
		}
		if err := p.await(ctx, ends); err != nil {
			w.of.problem(fmt.Sprintf("%s: %v", what, err)) // the report says what is missing
		}
	}
	w.Close()
	report, err := w.of.Report()
	return report, errors.Join(append(w.errs, err)...)
}

// readAll writes down what is stored, and returns where the partitions end.
func (w *Run) readAll(ctx context.Context) (map[int32]int64, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cfg.Addresses...))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	starts, err := Offsets(ctx, cl, w.cfg.Topic, w.cfg.Partitions, -2)
	if err != nil {
		return nil, err
	}
	ends, err := w.settled(ctx, cl)
	if err != nil {
		return nil, err
	}
	for partition := range w.cfg.Partitions {
		w.of.Take(checker.Event{Kind: checker.Start, Partition: partition, Offset: starts[partition]})
		if err := w.readPartition(ctx, partition, starts[partition], ends[partition]); err != nil {
			return nil, fmt.Errorf("read all of %s-%d: %w", w.cfg.Topic, partition, err)
		}
	}
	return ends, nil
}

// settled waits until all that leaders have can be read, and returns where the partitions
// end then. Before that a reader may see more than a moment ago was there to be read:
// what was acked by a leader alone, or to nobody.
func (w *Run) settled(ctx context.Context, cl *kgo.Client) (map[int32]int64, error) {
	for {
		written, err := offsets(ctx, cl, w.cfg.Topic, w.cfg.Partitions, -1, aReplica)
		if err != nil {
			return nil, err
		}
		ends, err := Offsets(ctx, cl, w.cfg.Topic, w.cfg.Partitions, -1)
		if err != nil || maps.Equal(written, ends) {
			return ends, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("written up to %v, to be read up to %v: %w", written, ends, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (w *Run) readPartition(ctx context.Context, partition int32, next, end int64) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cfg.Addresses...), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.cfg.Topic: {partition: kgo.NewOffset().At(next)}}))
	if err != nil {
		return err
	}
	defer cl.Close()
	for next < end {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("at %d of %d: %w", next, end, err)
		}
		for r := range fetches.RecordsAll() {
			if r.Offset < end {
				w.of.Take(checker.Event{Kind: checker.Stored, Partition: partition, Offset: r.Offset, Value: valueOf(r)})
			}
			next = r.Offset + 1
		}
	}
	return nil
}

// Offsets asks for the offset at a timestamp of every partition: -1 the end, -2 the
// beginning.
func Offsets(ctx context.Context, cl *kgo.Client, topic string, partitions int32, timestamp int64) (map[int32]int64, error) {
	return offsets(ctx, cl, topic, partitions, timestamp, aReader)
}

// Who asks: a follower is told where a log ends, a reader how far it may be read.
const (
	aReader  = -1
	aReplica = 1
)

func offsets(ctx context.Context, cl *kgo.Client, topic string, partitions int32, timestamp int64, who int32) (map[int32]int64, error) {
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for partition := range partitions {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = partition, timestamp
		t.Partitions = append(t.Partitions, p)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.Topics = who, append(req.Topics, t)
	found := map[int32]int64{}
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("offsets of %s-%d: %w", topic, p.Partition, err)
				}
				found[p.Partition] = p.Offset
			}
		}
	}
	return found, nil
}

// progress is how far readers have come, the furthest of them.
type progress struct {
	mu   sync.Mutex // guards next
	next map[int32]int64
}

func newProgress() *progress { return &progress{next: map[int32]int64{}} }

func (p *progress) at(partition int32, next int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next[partition] = max(p.next[partition], next)
}

// await waits until some reader has come to the ends.
func (p *progress) await(ctx context.Context, ends map[int32]int64) error {
	for {
		p.mu.Lock()
		now := maps.Clone(p.next)
		p.mu.Unlock()
		behind := 0
		for partition, end := range ends {
			if now[partition] < end {
				behind++
			}
		}
		if behind == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("came to %v of %v: %w", now, ends, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
