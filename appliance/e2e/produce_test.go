package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/record"
)

// codecs are the compressions, as kcat and franz-go call them.
var codecs = []struct {
	codec record.Codec
	kgo   kgo.CompressionCodec
}{
	{record.None, kgo.NoCompression()},
	{record.Gzip, kgo.GzipCompression()},
	{record.Snappy, kgo.SnappyCompression()},
	{record.LZ4, kgo.Lz4Compression()},
	{record.Zstd, kgo.ZstdCompression()},
}

// Stock clients create topics, produce with every level of acks and every
// compression, and read from the beginning, an offset or a time.
func TestProduceFetch(t *testing.T) {
	p := start(t)
	t.Run("acks", func(t *testing.T) { testAcks(t, p.Kafka) })
	t.Run("compression", func(t *testing.T) { testCompression(t, p.Kafka) })
	t.Run("bytes", func(t *testing.T) { testBytes(t, p.Kafka, p.DataDir) })
	t.Run("offsets", func(t *testing.T) { testOffsets(t, p.Kafka) })
	t.Run("topics", func(t *testing.T) { testTopics(t, p.Kafka) })
	t.Run("largeFetch", func(t *testing.T) { testLargeFetch(t, p.Kafka) })
}

func testAcks(t *testing.T, address string) {
	for name, acks := range map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "-1": kgo.AllISRAcks()} {
		t.Run(name, func(t *testing.T) {
			topic := "acks" + name
			createTopic(t, address, topic, 1)
			cl := client(t, address, kgo.RequiredAcks(acks))
			var records []*kgo.Record
			for i := range 100 {
				records = append(records, &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)})
			}
			if err := cl.ProduceSync(within(t, patience), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			kcat(t, address, "100\n101\n", "-P", "-t", topic, "-X", "acks="+name)
			awaitEnd(t, address, topic, 102) // nobody is told when acks=0 has arrived
			for i, r := range readAll(t, address, topic) {
				if r.value != fmt.Sprint(i) {
					t.Fatalf("offset %d holds %q, want %d", r.offset, r.value, i)
				}
			}
		})
	}
}

// awaitEnd reads partition 0 of the topic from its start until it ends at offset end.
func awaitEnd(t *testing.T, address, topic string, end int) {
	t.Helper()
	ctx := within(t, patience)
	cl := client(t, address, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	for got := 0; got < end; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%s has %d records, want %d: %v", topic, got, end, err)
		}
		got += fetches.NumRecords()
	}
}

// What kcat and franz-go compress, each reads of the other, and it is stored as
// the producer compressed it.
func testCompression(t *testing.T, address string) {
	for _, c := range codecs {
		t.Run(c.codec.String(), func(t *testing.T) {
			topic := "compressed-" + c.codec.String()
			createTopic(t, address, topic, 1)
			var lines []string
			for i := range 300 {
				lines = append(lines, fmt.Sprintf("press%d:reading %d of a long series", i%7, i))
			}
			kcat(t, address, strings.Join(lines, "\n")+"\n", "-P", "-t", topic, "-K", ":", "-z", c.codec.String(), "-H", "unit=C")

			cl := client(t, address, kgo.ProducerBatchCompression(c.kgo))
			var records []*kgo.Record
			for i := 300; i < 600; i++ {
				line := fmt.Sprintf("press%d:reading %d of a long series", i%7, i)
				lines = append(lines, line)
				key, value, _ := strings.Cut(line, ":")
				records = append(records, &kgo.Record{
					Topic: topic, Key: []byte(key), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "unit", Value: []byte("C")}},
				})
			}
			if err := cl.ProduceSync(within(t, patience), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			checkLines(t, "franz-go", readAll(t, address, topic), lines)
			checkLines(t, "kcat", kcatRead(t, address, topic, "-o", "beginning"), lines)
			checkStored(t, dial(t, address).batches(topic, 0, 0), c.codec, lines)
		})
	}
}

// checkLines compares records with the lines that they were made from.
func checkLines(t *testing.T, reader string, records []stored, lines []string) {
	t.Helper()
	if len(records) != len(lines) {
		t.Fatalf("%s read %d records, want %d", reader, len(records), len(lines))
	}
	for i, r := range records {
		if got := r.key + ":" + r.value; got != lines[i] || r.offset != int64(i) || r.header("unit") != "C" {
			t.Fatalf("%s read at offset %d: %q, headers %v, want %q", reader, r.offset, got, r.headers, lines[i])
		}
	}
}

// checkStored holds that the batches are compressed by c, and hold the lines.
func checkStored(t *testing.T, stored []record.Batch, c record.Codec, lines []string) {
	t.Helper()
	var got []string
	for _, b := range stored {
		// librdkafka sends a batch as it is that compressing does not shorten.
		if b.Codec() != c && b.Count() > 3 {
			t.Errorf("the batch at offset %d, of %d records, is stored with compression %v, want %v", b.BaseOffset(), b.Count(), b.Codec(), c)
		}
		err := codec.Records(b, 1<<20, func(r record.Record) bool {
			got = append(got, string(r.Key)+":"+string(r.Value))
			return true
		})
		if err != nil {
			t.Errorf("the batch at offset %d: %v", b.BaseOffset(), err)
		}
	}
	if !slices.Equal(got, lines) {
		t.Errorf("%d records are in the stored batches, want %d, or they differ", len(got), len(lines))
	}
}

// A batch is stored, on disk and as it is served, byte for byte as it came, but
// for the base offset and the leader epoch.
func testBytes(t *testing.T, address, dataDir string) {
	createTopic(t, address, "bytes", 1)
	w := dial(t, address)
	var sent []record.Batch
	for _, c := range codecs {
		b := batchOf(t, c.codec, 50, 1000)
		offset, err := w.produce("bytes", 0, b)
		if err != nil || offset != int64(50*len(sent)) {
			t.Fatalf("%v: base offset %d, err %v, want %d", c.codec, offset, err, 50*len(sent))
		}
		sent = append(sent, b)
	}
	served := w.batches("bytes", 0, 0)
	if len(served) != len(sent) {
		t.Fatalf("%d batches, want %d", len(served), len(sent))
	}
	for i := range sent {
		sent[i].Stamp(int64(50*i), served[i].LeaderEpoch())
		if !bytes.Equal(served[i], sent[i]) {
			t.Errorf("%v is served as other bytes than were sent", sent[i].Codec())
		}
	}
	segment, err := os.ReadFile(filepath.Join(dataDir, "bytes-0", "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Concat(sent...); !bytes.HasPrefix(segment, want) {
		t.Errorf("the segment, of %d bytes, does not begin with the %d that were sent", len(segment), len(want))
	}
	// A reader that asks for an offset inside a batch gets the whole batch.
	if inside := w.batches("bytes", 0, 123); len(inside) != 3 || !bytes.Equal(inside[0], sent[2]) {
		t.Errorf("from offset 123: %d batches, want the 3 that begin with offset 100", len(inside))
	}
}

// batchOf makes a batch of n records, a second apart from firstTime on, in ms.
func batchOf(t *testing.T, c record.Codec, n int, firstTime int64) record.Batch {
	t.Helper()
	var builder record.Builder
	for i := range n {
		builder.Add(firstTime+1000*int64(i), fmt.Appendf(nil, "press%d", i%5), fmt.Appendf(nil, "reading %d", i), nil)
	}
	b := builder.Batch()
	packed, err := codec.Compress(c, b.Payload())
	if err != nil {
		t.Fatal(err)
	}
	return reframed(b, int16(c), packed)
}

// reframed returns b with other attributes and another payload, and the length
// and the checksum that these have.
func reframed(b record.Batch, attributes int16, payload []byte) record.Batch {
	out := slices.Concat(b[:record.HeaderLen], payload)
	binary.BigEndian.PutUint32(out[8:], uint32(len(out)-12))
	binary.BigEndian.PutUint16(out[21:], uint16(attributes))
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	return out
}

// Readers begin at the beginning, an offset, or a time that falls into a
// compressed batch, and find the same with kcat and franz-go.
func testOffsets(t *testing.T, address string) {
	createTopic(t, address, "offsets", 1)
	w := dial(t, address)
	const firstTime = 1_700_000_000_000
	for i, c := range codecs {
		if _, err := w.produce("offsets", 0, batchOf(t, c.codec, 10, firstTime+10_000*int64(i))); err != nil {
			t.Fatal(err)
		}
	}
	all := readAll(t, address, "offsets")
	if len(all) != 50 {
		t.Fatalf("%d records, want 50", len(all))
	}
	for args, from := range map[string]int{
		"beginning":                                 0,
		"17":                                        17,
		"-5":                                        45,
		fmt.Sprintf("s@%d", firstTime):              0,
		fmt.Sprintf("s@%d", firstTime-5000):         0,
		fmt.Sprintf("s@%d", firstTime+17_000):       17,
		fmt.Sprintf("s@%d", firstTime+16_001):       17,
		fmt.Sprintf("s@%d", firstTime+43_000-1):     43,
		fmt.Sprintf("s@%d", firstTime+29_000+1_000): 30,
	} {
		if got := kcatRead(t, address, "offsets", "-o", args); !reflect.DeepEqual(got, all[from:]) {
			t.Errorf("kcat -o %s: %d records, want the %d from offset %d on", args, len(got), len(all)-from, from)
		}
	}
	cl := client(t, address)
	for at, want := range map[int64]int64{-2: 0, -1: 50, firstTime + 17_000: 17, firstTime + 16_001: 17, firstTime + 49_000: 49, firstTime + 49_001: -1} {
		got, err := offsets(within(t, patience), cl, "offsets", at)
		if err != nil || got[0] != want {
			t.Errorf("ListOffsets at %d: %v, %v, want %d", at, got, err, want)
		}
	}
	part := w.ask(fetchRequest("offsets", 0, 51, 1<<20)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if part.ErrorCode != kerr.OffsetOutOfRange.Code {
		t.Errorf("fetch past the end: %v, want %v", kerr.ErrorForCode(part.ErrorCode), kerr.OffsetOutOfRange)
	}
}

// Topics are created, listed and deleted; a name that is free again is a new
// topic's.
func testTopics(t *testing.T, address string) {
	createTopic(t, address, "short.lived", 3)
	list := kcat(t, address, "", "-L")
	for _, want := range []string{"1 brokers:", "at " + address, `topic "short.lived" with 3 partitions:`} {
		if !strings.Contains(list, want) {
			t.Errorf("kcat -L does not say %q:\n%s", want, list)
		}
	}
	cl := client(t, address)
	ask := kmsg.NewCreateTopicsRequestTopic()
	ask.Topic, ask.NumPartitions, ask.ReplicationFactor = "short.lived", 1, 1
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics, create.TimeoutMillis = append(create.Topics, ask), 10_000
	again, err := create.RequestWith(within(t, patience), cl)
	if err != nil || again.Topics[0].ErrorCode != kerr.TopicAlreadyExists.Code {
		t.Errorf("created twice: %+v, %v, want %v", again, err, kerr.TopicAlreadyExists)
	}
	if _, err := dial(t, address).produce("short.lived", 2, batchOf(t, record.None, 5, 0)); err != nil {
		t.Fatal(err)
	}

	remove := kmsg.NewPtrDeleteTopicsRequest()
	gone := kmsg.NewDeleteTopicsRequestTopic()
	gone.Topic = kmsg.StringPtr("short.lived")
	remove.TopicNames, remove.Topics, remove.TimeoutMillis = []string{"short.lived"}, append(remove.Topics, gone), 10_000
	removed, err := remove.RequestWith(within(t, patience), cl)
	if err != nil || removed.Topics[0].ErrorCode != 0 {
		t.Fatalf("delete: %+v, %v", removed, err)
	}
	if list := kcat(t, address, "", "-L"); strings.Contains(list, "short.lived") {
		t.Errorf("kcat -L lists a deleted topic:\n%s", list)
	}
	if _, err := dial(t, address).produce("short.lived", 2, batchOf(t, record.None, 1, 0)); err != kerr.UnknownTopicOrPartition {
		t.Errorf("produce to a deleted topic: %v, want %v", err, kerr.UnknownTopicOrPartition)
	}
	createTopic(t, address, "short.lived", 1)
	if left := readAll(t, address, "short.lived"); len(left) != 0 {
		t.Errorf("a new topic has %d records of the one before it", len(left))
	}
}

// A batch that is larger than a reader's limits comes all the same, and comes
// alone.
func testLargeFetch(t *testing.T, address string) {
	createTopic(t, address, "large", 1)
	w := dial(t, address)
	var builder record.Builder
	builder.Add(0, nil, bytes.Repeat([]byte("x"), 900<<10), nil)
	large := builder.Batch()
	for range 2 {
		if _, err := w.produce("large", 0, large); err != nil {
			t.Fatal(err)
		}
	}
	part := w.ask(fetchRequest("large", 0, 0, 1000)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if b, rest, err := record.Next(part.RecordBatches); err != nil || len(b) != len(large) || len(rest) != 0 {
		t.Errorf("a limit of 1000 bytes brings a batch of %d bytes and %d more, err %v, want %d and none", len(b), len(rest), err, len(large))
	}
	builder.Add(0, nil, bytes.Repeat([]byte("x"), 1<<20), nil)
	if _, err := w.produce("large", 0, builder.Batch()); err != kerr.MessageTooLarge {
		t.Errorf("a batch above max.message.bytes: %v, want %v", err, kerr.MessageTooLarge)
	}
}
