package dedup

import (
	"fmt"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/record"
)

// Header is the record header that holds a message id.
const Header = "Nats-Msg-Id"

// Reader is the log that Tail reads. What is read is below the high watermark.
type Reader interface {
	// Offsets returns the first offset that can be read, the one that readers stop
	// before, and what the partition takes on disk.
	Offsets(topic string, partition int32) (logStartOffset, highWatermark, sizeBytes int64, err error)
	// ReadRecords calls yield for the records from fromOffset on until it returns
	// false, or about maxBytes of the log were read: one batch at least, if there is
	// one. The bytes are valid during yield. nextOffset is where to read on; it is
	// fromOffset at the high watermark.
	ReadRecords(topic string, partition int32, fromOffset int64, maxBytes int, yield func(offset, timestamp int64, r record.Record) bool) (nextOffset int64, err error)
}

// Bounds says how far back Tail looks: LeastRecords in any case, then as long as
// records are no older than Age before the newest, up to Records and about Bytes.
// Ages are between records' own timestamps, since a box may not know what time it is;
// LeastRecords are for the clock that was set meanwhile.
type Bounds struct {
	LeastRecords int64
	Records      int64
	Bytes        int64
	Age          time.Duration
}

// Seen is a message with an id.
type Seen struct {
	ID     ID
	Offset int64
}

// Tail returns the messages with ids among a partition's records from start to
// before end, as far back from end as bounds say, in the order of the log. id makes
// an ID of a header's value.
func Tail(log Reader, topic string, partition int32, start, end int64, bounds Bounds, id func([]byte) ID) ([]Seen, error) {
	t := &tail{log: log, topic: topic, partition: partition, id: id}
	if err := t.read(start, end, bounds); err != nil {
		return nil, fmt.Errorf("read message ids of %s-%d: %w", topic, partition, err)
	}
	slices.Reverse(t.chunks)
	return slices.Concat(t.chunks...), nil
}

type tail struct {
	log       Reader
	topic     string
	partition int32
	id        func([]byte) ID

	chunks         [][]Seen // the last of the log first
	records, bytes int64    // that were read
	newest         int64    // timestamp of all records, Unix ms
	skips          int
}

const (
	firstChunk = 16   // offsets; the records may be large
	mostChunk  = 4096 // offsets
	readBytes  = 256 << 10
	mostSkips  = 1000
)

// read reads chunks of the log, each before the one that was read last: the bounds
// are counted from the end.
func (t *tail) read(start, end int64, bounds Bounds) error {
	size := int64(firstChunk)
	for offsets := int64(0); end > start && offsets < bounds.Records && t.bytes < bounds.Bytes; {
		from := max(start, end-min(size, bounds.Records-offsets))
		newest, err := t.chunk(from, end)
		if err != nil {
			return err
		}
		t.newest = max(t.newest, newest)
		offsets += end - from
		end = from
		if offsets >= bounds.LeastRecords && newest < t.newest-bounds.Age.Milliseconds() {
			return nil
		}
		average := t.bytes/max(t.records, 1) + 1
		size = min(2*size, mostChunk, max((bounds.Bytes-t.bytes)/average, 1))
	}
	return nil
}

// chunk reads the records from an offset to before end, and returns the newest
// timestamp.
func (t *tail) chunk(from, end int64) (newest int64, err error) {
	var seen []Seen
	for from < end {
		next, err := t.log.ReadRecords(t.topic, t.partition, from, readBytes, func(offset, timestamp int64, r record.Record) bool {
			if offset >= end {
				return false
			}
			newest = max(newest, timestamp)
			t.records++
			t.bytes += sizeOf(r)
			if value := idOf(r); len(value) > 0 {
				seen = append(seen, Seen{t.id(value), offset})
			}
			return true
		})
		if err != nil {
			if next, err = t.skip(max(from, next), err); err != nil {
				return 0, err
			}
		}
		if next == from { // the end, earlier than it was
			break
		}
		from = next
	}
	t.chunks = append(t.chunks, seen)
	return newest, nil
}

// skip returns where to read on after err at an offset: behind what retention took
// meanwhile, or behind what cannot be read, such as a batch that a producer did not
// compress as it said. A log of which little can be read is an error.
func (t *tail) skip(at int64, err error) (next int64, _ error) {
	start, _, _, offsetsErr := t.log.Offsets(t.topic, t.partition)
	if t.skips++; offsetsErr != nil || t.skips > mostSkips {
		return 0, err
	}
	return max(start, at+1), nil
}

func sizeOf(r record.Record) int64 {
	size := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		size += len(h.Key) + len(h.Value)
	}
	return int64(size)
}

// idOf returns the message id of r, nil for none. The first such header counts.
func idOf(r record.Record) []byte {
	for _, h := range r.Headers {
		if h.Key == Header {
			return h.Value
		}
	}
	return nil
}
