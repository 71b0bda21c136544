package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// place is where a record stands. The topic is the test's.
type place struct {
	partition int32
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%d@%d", p.partition, p.offset) }

// stored is a record as a consumer got it. The value says which reading or
// message it is.
type stored struct {
	place
	timestamp  int64 // Unix ms
	key, value string
	headers    [][2]string
}

func (s stored) header(name string) string {
	for _, h := range s.headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// client returns a franz-go client of the process on address, closed when the
// test ends. Idempotent writes are off: TestKill has clients of its own for them.
func client(t *testing.T, address string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.AlwaysRetryEOF(), // a kill may meet a connection in its first exchange
		kgo.SeedBrokers(address),
		kgo.DisableIdempotentWrite(),
		kgo.DisableClientMetrics(),
		kgo.MetadataMinAge(20 * time.Millisecond), // or a killed process is asked again after seconds only
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// createTopic creates a topic.
func createTopic(t *testing.T, address, topic string, partitions int32) {
	t.Helper()
	ask := kmsg.NewCreateTopicsRequestTopic()
	ask.Topic, ask.NumPartitions, ask.ReplicationFactor = topic, partitions, 1
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.TimeoutMillis = append(req.Topics, ask), 10_000
	resp, err := req.RequestWith(within(t, patience), client(t, address))
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		t.Fatalf("create topic %s: %v", topic, err)
	}
}

// offsets asks for an offset of every partition of the topic: -2 is the first, -1
// the one after the last, else the first record at or after a time in Unix ms.
func offsets(ctx context.Context, cl *kgo.Client, topic string, at int64) (map[int32]int64, error) {
	meta := kmsg.NewPtrMetadataRequest()
	ask := kmsg.NewMetadataRequestTopic()
	ask.Topic = &topic
	meta.Topics = append(meta.Topics, ask)
	known, err := meta.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(known.Topics[0].ErrorCode); err != nil {
		return nil, fmt.Errorf("metadata of %s: %w", topic, err)
	}
	list := kmsg.NewPtrListOffsetsRequest()
	wanted := kmsg.NewListOffsetsRequestTopic()
	wanted.Topic = topic
	for _, p := range known.Topics[0].Partitions {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p.Partition, at
		wanted.Partitions = append(wanted.Partitions, part)
	}
	list.Topics = append(list.Topics, wanted)
	listed, err := list.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	got := map[int32]int64{}
	for _, p := range listed.Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return nil, fmt.Errorf("offsets of %s-%d: %w", topic, p.Partition, err)
		}
		got[p.Partition] = p.Offset
	}
	return got, nil
}

// readAll reads the topic from its beginning to the end that it has now, with
// franz-go, and returns its records by partition and offset. It complains about
// offsets that are missing or come twice.
func readAll(t *testing.T, address, topic string) []stored {
	t.Helper()
	return readFrom(t, address, topic, nil)
}

// readFrom is readAll from an offset of each partition on. A partition that is
// not in from is read from its beginning; one that ends before is not read.
func readFrom(t *testing.T, address, topic string, from map[int32]int64) []stored {
	t.Helper()
	ctx := within(t, patience)
	asks := client(t, address)
	defer asks.Close()
	next, err := offsets(ctx, asks, topic, -2)
	if err != nil {
		t.Fatal(err)
	}
	end, err := offsets(ctx, asks, topic, -1)
	if err != nil {
		t.Fatal(err)
	}
	starts := map[int32]kgo.Offset{}
	for partition := range next {
		next[partition] = min(max(next[partition], from[partition]), end[partition])
		starts[partition] = kgo.NewOffset().At(next[partition])
	}
	cl := client(t, address, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}), kgo.FetchMaxWait(100*time.Millisecond))
	defer cl.Close()
	var all []stored
	for !maps.Equal(next, end) { // a log that still grows is read no further
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("fetch of %s, at %v of %v: %v", topic, next, end, err)
		}
		for r := range fetches.RecordsAll() {
			if next[r.Partition] == end[r.Partition] {
				continue
			}
			if r.Offset != next[r.Partition] {
				t.Errorf("%s-%d: offset %d follows %d", topic, r.Partition, r.Offset, next[r.Partition]-1)
			}
			next[r.Partition] = r.Offset + 1
			all = append(all, storedOf(r))
		}
	}
	slices.SortFunc(all, func(a, b stored) int {
		if a.partition != b.partition {
			return int(a.partition - b.partition)
		}
		return int(a.offset - b.offset)
	})
	return all
}

func storedOf(r *kgo.Record) stored {
	s := stored{place: place{r.Partition, r.Offset}, timestamp: r.Timestamp.UnixMilli(), key: string(r.Key), value: string(r.Value)}
	for _, h := range r.Headers {
		s.headers = append(s.headers, [2]string{h.Key, string(h.Value)})
	}
	return s
}

// byPlace indexes records.
func byPlace(records []stored) map[place]stored {
	index := make(map[place]stored, len(records))
	for _, r := range records {
		index[r.place] = r
	}
	return index
}
