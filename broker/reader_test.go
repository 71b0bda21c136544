package broker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/buffer"
	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/record"
)

// readAll reads a partition from an offset to its end, a little at a time, and
// returns a line for each record.
func readAll(t *testing.T, b *brokertest.Box, topic string, from int64) (lines []string) {
	t.Helper()
	for {
		next, err := b.ReadRecords(topic, 0, from, 1, func(offset, timestamp int64, r record.Record) bool {
			line := fmt.Sprintf("%d@%d %s=%s", offset, timestamp, text(r.Key), text(r.Value))
			for _, h := range r.Headers {
				line += fmt.Sprintf(" %s:%s", h.Key, text(h.Value))
			}
			lines = append(lines, line)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if next == from {
			return lines
		}
		from = next
	}
}

func text(b []byte) string {
	if b == nil {
		return "null"
	}
	return string(b)
}

// append puts batches at the end of a topic's one partition.
func appendBatches(t *testing.T, b *brokertest.Box, topic string, batches ...record.Batch) {
	t.Helper()
	if _, err := b.Partitions(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	for _, batch := range batches {
		stored := make(chan error, 1)
		b.Append(topic, 0, batch, func(_ int64, err error) { stored <- err })
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
	}
}

// batchOf is a batch of records "k<n>"="v<n>" at 1000+n.
func batchOf(numbers ...int) record.Batch {
	var bu record.Builder
	for _, n := range numbers {
		bu.Add(int64(1000+n), fmt.Appendf(nil, "k%d", n), fmt.Appendf(nil, "v%d", n), nil)
	}
	return bu.Batch()
}

// control turns a batch into one of markers.
func control(b record.Batch) record.Batch {
	const atCRC, atAttributes = 17, 21
	b[atAttributes+1] |= 0x20
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// without leaves the records at the given places out of a batch, as compaction does.
func without(t *testing.T, b record.Batch, places ...int32) record.Batch {
	t.Helper()
	var payload []byte
	kept := int32(0)
	err := b.Each(b.Payload(), func(r record.Record, raw []byte) error {
		if !slices.Contains(places, r.OffsetDelta) {
			payload = append(payload, raw...)
			kept++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.With(record.None, payload, kept, b.MaxTimestamp())
}

func ask(t *testing.T, b *brokertest.Box, req kmsg.Request) kmsg.Response {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	resp, err := cl.Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func createTopic(t *testing.T, b *brokertest.Box, name string, partitions int32, settings map[string]string) {
	t.Helper()
	in := kmsg.NewCreateTopicsRequestTopic()
	in.Topic, in.NumPartitions, in.ReplicationFactor = name, partitions, 1
	for name, value := range settings {
		in.Configs = append(in.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: name, Value: &value})
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, in)
	if out := ask(t, b, req).(*kmsg.CreateTopicsResponse); out.Topics[0].ErrorCode != 0 {
		t.Fatalf("create %s: error %d", name, out.Topics[0].ErrorCode)
	}
}

func deleteBefore(t *testing.T, b *brokertest.Box, name string, offset int64) {
	t.Helper()
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Offset = offset
	in := kmsg.NewDeleteRecordsRequestTopic()
	in.Topic, in.Partitions = name, append(in.Partitions, part)
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Topics = append(req.Topics, in)
	if out := ask(t, b, req).(*kmsg.DeleteRecordsResponse); out.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("delete records of %s: error %d", name, out.Topics[0].Partitions[0].ErrorCode)
	}
}

// Whatever a stock producer sends is read as it was sent, and nothing is read of
// memory that was given back.
func TestReadRecordsOfProducers(t *testing.T) {
	buffer.Poison(true)
	defer buffer.Poison(false)
	b := brokertest.Start(t, brokertest.Config(t.TempDir()))
	var want []string
	for i, compression := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("press"), kgo.ProducerBatchCompression(compression))
		if err != nil {
			t.Fatal(err)
		}
		at := time.UnixMilli(int64(5000 + 10*i))
		results := cl.ProduceSync(t.Context(),
			&kgo.Record{Timestamp: at, Key: []byte("a"), Value: bytes.Repeat([]byte("x"), 40), Headers: []kgo.RecordHeader{{Key: "unit", Value: []byte("bar")}, {Key: "none"}}},
			&kgo.Record{Timestamp: at, Value: []byte{}},
			&kgo.Record{Timestamp: at, Key: []byte{}})
		cl.Close()
		if err := results.FirstErr(); err != nil {
			t.Fatal(err)
		}
		ms := at.UnixMilli()
		want = append(want,
			fmt.Sprintf("%d@%d a=%s unit:bar none:null", 3*i, ms, bytes.Repeat([]byte("x"), 40)),
			fmt.Sprintf("%d@%d null=", 3*i+1, ms),
			fmt.Sprintf("%d@%d =null", 3*i+2, ms))
	}
	if got := readAll(t, b, "press", 0); !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

// Readers pass over what is no record of theirs, and are told where to go on.
func TestReadRecordsGaps(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config(t.TempDir()))
	appendBatches(t, b, "press",
		batchOf(0, 1),
		control(batchOf(2)),
		without(t, batchOf(3, 4, 5), 0, 2),
		without(t, batchOf(6, 7), 0, 1),
		batchOf(8, 9))
	if got, want := readAll(t, b, "press", 1), []string{"1@1001 k1=v1", "4@1004 k4=v4", "8@1008 k8=v8", "9@1009 k9=v9"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	for name, tc := range map[string]struct {
		from int64
		take int // records, before yield says no
		want int64
	}{
		"stopsBehindTheRecord": {0, 1, 1},
		"batchWithoutRecords":  {2, 9, 3},
		"gapAtABatchesEnd":     {3, 9, 6},
		"stopsBeforeTheGap":    {3, 1, 5},
		"emptiedBatch":         {6, 9, 8},
		"atTheEnd":             {10, 9, 10},
	} {
		left := tc.take
		next, err := b.ReadRecords("press", 0, tc.from, 1, func(int64, int64, record.Record) bool { left--; return left > 0 })
		if err != nil || next != tc.want {
			t.Errorf("%s: next offset %d and error %v, want %d", name, next, err, tc.want)
		}
	}
}

// What is not there is told apart from what is not there any more.
func TestReadRecordsErrors(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config(t.TempDir()))
	appendBatches(t, b, "press", batchOf(0, 1, 2))
	deleteBefore(t, b, "press", 2)
	commit(t, b, "one", 2, "") // which makes the topic of groups
	none := func(int64, int64, record.Record) bool { return true }
	for name, tc := range map[string]struct {
		topic string
		from  int64
		want  error
	}{
		"noTopic":     {"pump", 0, broker.ErrUnknownPartition},
		"groups":      {"__consumer_offsets", 0, broker.ErrUnknownPartition},
		"beforeStart": {"press", 1, commitlog.ErrOffsetOutOfRange},
		"behindEnd":   {"press", 4, commitlog.ErrOffsetOutOfRange},
	} {
		if _, err := b.ReadRecords(tc.topic, 0, tc.from, 1<<20, none); !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, err, tc.want)
		}
	}
	if start, end, _, err := b.Offsets("press", 0); start != 2 || end != 3 || err != nil {
		t.Errorf("offsets %d to %d and error %v, want 2 to 3", start, end, err)
	}
}

// A batch that comes out larger than small ones may is read all the same, by one
// reader at a time; what passes the bound is an error and no memory.
func TestReadRecordsOfLargeBatches(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config(t.TempDir()))
	zipped := func(valueBytes, count int) record.Batch {
		var bu record.Builder
		for range count {
			bu.Add(1, nil, make([]byte, valueBytes), nil)
		}
		plain := bu.Batch()
		payload, err := codec.Compress(record.Zstd, plain.Payload())
		if err != nil {
			t.Fatal(err)
		}
		return plain.With(record.Zstd, payload, plain.Count(), 1)
	}
	appendBatches(t, b, "press", zipped(1<<20, 8), zipped(1<<20, 65))
	inside := make(chan int, 2) // readers that are in yield
	inside <- 0
	read := func(context.Context) error {
		_, err := b.ReadRecords("press", 0, 0, 1, func(offset, _ int64, r record.Record) bool {
			n := <-inside
			inside <- n + 1
			if n > 0 {
				t.Errorf("offset %d: another reader has a large batch, too", offset)
			}
			if len(r.Value) != 1<<20 {
				t.Errorf("offset %d: %d bytes, want 1 MiB", offset, len(r.Value))
			}
			inside <- <-inside - 1
			return true
		})
		return err
	}
	errs := make(chan error)
	for range 4 {
		go func() { errs <- read(t.Context()) }()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if _, err := b.ReadRecords("press", 0, 8, 1, func(int64, int64, record.Record) bool { return true }); !errors.Is(err, codec.ErrTooLarge) {
		t.Errorf("a batch of 65 MiB: error %v, want %v", err, codec.ErrTooLarge)
	}
}

func TestOffsetForTimeOfReaders(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config(t.TempDir()))
	appendBatches(t, b, "press", batchOf(0, 1), batchOf(5, 6))
	for at, want := range map[int64]int64{0: 0, 1001: 1, 1002: 2, 1006: 3, 1007: 4} {
		if got, err := b.OffsetForTime("press", 0, at); err != nil || got != want {
			t.Errorf("time %d: offset %d and error %v, want %d", at, got, err, want)
		}
	}
}

// Clients learn of the partitions that are theirs, and how long records stay.
func TestPartitionsOfReaders(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	cfg.TopicDefaults.RetentionBytes, cfg.TopicDefaults.Retention = 1<<20, time.Hour
	b := brokertest.Start(t, cfg)
	createTopic(t, b, "press", 2, nil)
	createTopic(t, b, "last", 1, map[string]string{"cleanup.policy": "compact"})
	commit(t, b, "one", 0, "") // which makes the topic of groups
	var all []string
	each := func(topic string, partition int32) bool {
		all = append(all, fmt.Sprintf("%s-%d", topic, partition))
		return len(all) < 4
	}
	b.EachPartition(each)
	if want := []string{"last-0", "press-0", "press-1"}; !slices.Equal(all, want) {
		t.Errorf("partitions %q, want %q", all, want)
	}
	if b.EachPartition(each); len(all) != 4 {
		t.Errorf("%d partitions after one that was enough, want 4", len(all))
	}
	for topic, want := range map[string][3]int64{"press": {1 << 20, 3_600_000, 1<<20 + 12}, "last": {-1, -1, 1<<20 + 12}} {
		bytes, age, message, err := b.Retention(topic)
		if got := [3]int64{bytes, age, message}; err != nil || got != want {
			t.Errorf("retention of %s: %v and error %v, want %v", topic, got, err, want)
		}
	}
}

// A reader at the end is woken by what comes, once it can be read.
func TestWatchPartition(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config(t.TempDir()))
	appendBatches(t, b, "press", batchOf(0))
	wake := make(chan struct{}, 1)
	stop, err := b.WatchPartition("press", 0, wake)
	if err != nil {
		t.Fatal(err)
	}
	appendBatches(t, b, "press", batchOf(1))
	<-wake
	if got := readAll(t, b, "press", 1); len(got) != 1 {
		t.Errorf("woken, and read %q", got)
	}
	stop()
	appendBatches(t, b, "press", batchOf(2))
	select {
	case <-wake:
		t.Error("woken after stop")
	default:
	}
}

// A segment that is lost, in the middle or at the end, is a gap like others: readers
// come out behind it.
func TestReadRecordsPastLostSegments(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	cfg.TopicDefaults.SegmentBytes = 1 << 20
	b := brokertest.Start(t, cfg)
	var bu record.Builder
	const batches = 35 // in four segments
	for n := range batches {
		bu.Add(int64(n), nil, make([]byte, 100<<10), nil)
		appendBatches(t, b, "press", bu.Batch())
	}
	segments, err := filepath.Glob(filepath.Join(cfg.DataDir, "press-0", "*.log"))
	if err != nil || len(segments) != 4 {
		t.Fatalf("segments %q, error %v", segments, err)
	}
	for _, lost := range []string{segments[1], segments[3]} {
		if err := os.WriteFile(lost, bytes.Repeat([]byte{0xee}, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var got []int64
	next := int64(0)
	for reads := 0; next < batches; reads++ {
		before := next
		next, err = b.ReadRecords("press", 0, before, 1<<20, func(offset, _ int64, _ record.Record) bool {
			got = append(got, offset)
			return true
		})
		if err != nil || next == before || reads > batches {
			t.Fatalf("from offset %d to %d, error %v", before, next, err)
		}
	}
	var want []int64
	for n := range int64(batches) {
		if n < 10 || n >= 20 && n < 30 {
			want = append(want, n)
		}
	}
	if next != batches || !slices.Equal(got, want) {
		t.Errorf("read %d up to %d, want %d", got, next, want)
	}
}
