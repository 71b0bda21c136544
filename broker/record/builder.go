package record

import (
	"encoding/binary"
	"slices"
)

// Builder gathers records into one uncompressed batch. The zero Builder is
// ready; after Batch it is empty again.
type Builder struct {
	buf          []byte
	count        int32
	baseTime     int64
	maxTimestamp int64
}

// Len is the size in bytes of the batch as it stands, 0 while it is empty.
func (bu *Builder) Len() int { return len(bu.buf) }

// Count is how many records were added.
func (bu *Builder) Count() int { return int(bu.count) }

// Grow makes room for a batch of size bytes, so that one whose size can be told
// beforehand is not copied as it grows.
func (bu *Builder) Grow(size int) {
	bu.buf = slices.Grow(bu.buf, max(0, size-len(bu.buf)))
}

// Add appends a record that happened at timestamp. It copies all it is given. A
// nil key or value becomes null.
func (bu *Builder) Add(timestamp int64, key, value []byte, headers []Header) {
	if bu.count == 0 {
		bu.buf = append(bu.buf[:0], make([]byte, HeaderLen)...)
		bu.baseTime, bu.maxTimestamp = timestamp, timestamp
	}
	bu.maxTimestamp = max(bu.maxTimestamp, timestamp)
	timeDelta, offsetDelta := timestamp-bu.baseTime, int64(bu.count)

	size := 1 + varintLen(timeDelta) + varintLen(offsetDelta) + bytesLen(key) + bytesLen(value) + varintLen(int64(len(headers)))
	for _, h := range headers {
		size += varintLen(int64(len(h.Key))) + len(h.Key) + bytesLen(h.Value)
	}
	b := binary.AppendVarint(bu.buf, int64(size))
	b = append(b, 0) // attributes, unused
	b = binary.AppendVarint(b, timeDelta)
	b = binary.AppendVarint(b, offsetDelta)
	b = appendBytes(b, key)
	b = appendBytes(b, value)
	b = binary.AppendVarint(b, int64(len(headers)))
	for _, h := range headers {
		b = binary.AppendVarint(b, int64(len(h.Key)))
		b = append(b, h.Key...)
		b = appendBytes(b, h.Value)
	}
	bu.buf = b
	bu.count++
}

// Batch seals what was added and hands it over: the Builder starts a buffer of
// its own next time. Base offset and leader epoch are the leader's to stamp. It
// returns nil when nothing was added.
func (bu *Builder) Batch() Batch {
	if bu.count == 0 {
		return nil
	}
	b := Batch(bu.buf)
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-atLeaderEpoch))
	b[atMagic] = 2
	binary.BigEndian.PutUint32(b[atLastOffsetDelta:], uint32(bu.count-1))
	binary.BigEndian.PutUint64(b[atBaseTimestamp:], uint64(bu.baseTime))
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(bu.maxTimestamp))
	for at := atProducerID; at < atCount; at++ { // no producer: id, epoch and sequence are -1
		b[at] = 0xff
	}
	binary.BigEndian.PutUint32(b[atCount:], uint32(bu.count))
	binary.BigEndian.PutUint32(b[atCRC:], b.checksum())
	b.Stamp(0, -1)
	*bu = Builder{}
	return b
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(v))), v...)
}

func bytesLen(v []byte) int {
	if v == nil {
		return 1
	}
	return varintLen(int64(len(v))) + len(v)
}

func varintLen(v int64) int {
	n := 1
	for u := uint64(v)<<1 ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}
