package bench

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/headwater/headwater/broker/record"
)

// Requests are built once and sent again and again; only the correlation id, and
// what atOffset points at, is changed between. Their versions are the first that
// know record batches of format v2: the shortest frames.
const (
	keyProduce, produceVersion = 0, 3
	keyFetch, fetchVersion     = 1, 4

	clientID = "bench"

	atKey           = 4 // behind the frame's length
	atCorrelationID = 8
	atBody          = 12 + 2 + len(clientID)
	atAcks          = atBody + 2 // in a produce request, behind the transactional id
)

// errAnswer is wrapped by complaints about answers that cannot be read.
var errAnswer = errors.New("unreadable answer")

func appendHeader(b []byte, key, version uint16) []byte {
	b = append(b, 0, 0, 0, 0) // the length: endFrame
	b = binary.BigEndian.AppendUint16(b, key)
	b = binary.BigEndian.AppendUint16(b, version)
	b = append(b, 0, 0, 0, 0) // the correlation id
	return appendText(b, clientID)
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func endFrame(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// produceFrame is a whole produce request with one batch for one partition.
func produceFrame(topic string, partition int32, acks int, batch []byte) []byte {
	b := appendHeader(nil, keyProduce, produceVersion)
	b = append(b, 0xff, 0xff) // no transactional id
	b = binary.BigEndian.AppendUint16(b, uint16(int16(acks)))
	b = binary.BigEndian.AppendUint32(b, uint32(answerTimeout.Milliseconds()))
	b = append(b, 0, 0, 0, 1)
	b = appendText(b, topic)
	b = append(b, 0, 0, 0, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(partition))
	b = binary.BigEndian.AppendUint32(b, uint32(len(batch)))
	return endFrame(append(b, batch...))
}

// fetchFrame is a whole fetch request for one partition, and where in it the
// offset stands.
func fetchFrame(topic string, partition int32, maxBytes int) (frame []byte, atOffset int) {
	b := appendHeader(nil, keyFetch, fetchVersion)
	b = append(b, 0xff, 0xff, 0xff, 0xff)                   // no replica
	b = binary.BigEndian.AppendUint32(b, 1000)              // max wait, in ms
	b = binary.BigEndian.AppendUint32(b, 1)                 // min bytes
	b = binary.BigEndian.AppendUint32(b, uint32(maxBytes))  // of the answer
	b = append(b, 0)                                        // read uncommitted
	b = appendText(append(b, 0, 0, 0, 1), topic)            // one topic
	b = append(b, 0, 0, 0, 1)                               // one partition
	b = binary.BigEndian.AppendUint32(b, uint32(partition)) //
	b, atOffset = append(b, make([]byte, 8)...), len(b)     // the offset
	b = binary.BigEndian.AppendUint32(b, uint32(maxBytes))  // of the partition
	return endFrame(b), atOffset
}

// buildBatch fills a batch with records of size bytes up to batchBytes; one record
// at least. The values are no run of one byte, which something on the way might
// treat better than others.
func buildBatch(recordBytes, batchBytes int, timestamp int64) (batch record.Batch, records int) {
	value := make([]byte, recordBytes)
	for i := range value {
		value[i] = byte(i*31 + i>>8)
	}
	const perRecord = 16 // what a record has beside its value, at most
	var b record.Builder
	b.Grow(max(batchBytes, recordBytes+record.HeaderLen+perRecord))
	for b.Count() == 0 || b.Len()+recordBytes+perRecord <= batchBytes {
		b.Add(timestamp, nil, value, nil)
	}
	records = b.Count()
	return b.Batch(), records
}

// reader takes an answer apart. After the bytes have run out it reads zeros and
// is bad.
type reader struct {
	buf []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.buf) {
		r.bad, r.buf = true, nil
		return make([]byte, min(max(n, 0), 8))
	}
	b := r.buf[:n]
	r.buf = r.buf[n:]
	return b
}

func (r *reader) int16() int16 { return int16(binary.BigEndian.Uint16(r.take(2))) }
func (r *reader) int32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }
func (r *reader) int64() int64 { return int64(binary.BigEndian.Uint64(r.take(8))) }

// onePartition reads up to a lone partition's error code.
func (r *reader) onePartition() (code int16) {
	topics := r.int32()
	r.take(int(r.int16()))
	partitions := r.int32()
	r.int32()
	r.bad = r.bad || topics != 1 || partitions != 1
	return r.int16()
}

func (r *reader) err(code int16) error {
	switch {
	case r.bad:
		return errAnswer
	case code != 0:
		return fmt.Errorf("the broker answers with error code %d", code)
	}
	return nil
}

// produceAnswer reads what follows the correlation id.
func produceAnswer(body []byte) error {
	r := reader{buf: body}
	return r.err(r.onePartition())
}

// fetchAnswer reads what follows the correlation id. The records are body's.
func fetchAnswer(body []byte) (records []byte, highWatermark int64, err error) {
	r := reader{buf: body}
	r.int32() // throttle time
	code := r.onePartition()
	highWatermark = r.int64()
	r.int64()                                  // last stable offset
	for n := r.int32(); n > 0 && !r.bad; n-- { // aborted transactions
		r.take(16)
	}
	records = r.take(int(max(r.int32(), 0)))
	return records, highWatermark, r.err(code)
}

// walk returns the offset behind the last whole batch of b, how many records the
// batches have, and how many bytes.
func walk(b []byte, from int64) (next, records, size int64) {
	next = from
	for rest := b; ; {
		batch, after, err := record.Split(rest)
		if err != nil {
			return next, records, int64(len(b) - len(rest))
		}
		next, rest = batch.NextOffset(), after
		records += int64(batch.Count())
	}
}
