// Package record reads and writes Kafka record batches (message format v2), the
// unit that headwater stores, replicates and serves.
//
// A batch stays the bytes that arrived. The leader stamps two fields in place,
// the base offset and the leader epoch, both outside the checksum; records are
// never decompressed on the way through.
//
// The package does no I/O, starts no goroutines and imports only the standard
// library. Offsets are Kafka offsets; timestamps are Unix milliseconds. The
// format is described at kafka.apache.org/documentation, "Record Batch".
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const ( // where each field of the header starts, in bytes from the start of the batch
	atBaseOffset      = 0  // int64
	atLength          = 8  // int32, counts the bytes after this field
	atLeaderEpoch     = 12 // int32
	atMagic           = 16 // int8
	atCRC             = 17 // uint32, Castagnoli over atAttributes to the end
	atAttributes      = 21 // int16
	atLastOffsetDelta = 23 // int32
	atBaseTimestamp   = 27 // int64
	atMaxTimestamp    = 35 // int64
	atProducerID      = 43 // int64
	atProducerEpoch   = 51 // int16
	atBaseSequence    = 53 // int32
	atCount           = 57 // int32

	// HeaderLen is the length of a batch without records, in bytes.
	HeaderLen = 61
)

// LengthPrefix is how many bytes must be read before Size can tell a batch's
// length.
const LengthPrefix = atLeaderEpoch

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	// ErrCorrupt is wrapped by every error about bytes that cannot be a batch.
	ErrCorrupt = errors.New("corrupt record batch")
	// ErrOldFormat is returned for message formats v0 and v1, which nothing
	// since Kafka 0.11 writes.
	ErrOldFormat = errors.New("message format before v2")
	// ErrInvalid is wrapped by errors about a batch whose bytes arrived as they
	// were sent but whose contents break a rule.
	ErrInvalid = errors.New("invalid record batch")
)

// Batch is one whole record batch. Next and Builder.Batch are where a Batch
// comes from; the methods of a shorter slice panic.
type Batch []byte

// Size returns the length in bytes of the batch that starts with prefix, of
// which at least LengthPrefix bytes must be there.
func Size(prefix []byte) (int64, error) {
	if len(prefix) < LengthPrefix {
		return 0, io.ErrUnexpectedEOF
	}
	size := int64(atLeaderEpoch) + int64(int32(binary.BigEndian.Uint32(prefix[atLength:])))
	if size < HeaderLen {
		return 0, fmt.Errorf("%w: %d bytes is shorter than a header", ErrCorrupt, size)
	}
	return size, nil
}

// Next splits the first batch off buf. It returns io.ErrUnexpectedEOF when buf
// ends inside a batch, ErrOldFormat for a message set of an older format, and an
// error wrapping ErrCorrupt when the bytes cannot be a batch. No length read
// from buf is trusted before it is checked against buf.
func Next(buf []byte) (b Batch, rest []byte, err error) {
	b, rest, err = Split(buf)
	if err != nil {
		return nil, buf, err
	}
	if err := b.Check(); err != nil {
		return nil, buf, err
	}
	return b, rest, nil
}

// Split is Next without the checksum, for bytes that were checked before.
func Split(buf []byte) (b Batch, rest []byte, err error) {
	if len(buf) > atMagic && (buf[atMagic] == 0 || buf[atMagic] == 1) && !zero(buf[:atMagic]) {
		return nil, buf, ErrOldFormat
	}
	size, err := Size(buf)
	switch {
	case err != nil:
		return nil, buf, err
	case len(buf) > atMagic && buf[atMagic] != 2:
		return nil, buf, fmt.Errorf("%w: magic %d, want 2", ErrCorrupt, int8(buf[atMagic]))
	case len(buf) < HeaderLen || size > int64(len(buf)):
		return nil, buf, io.ErrUnexpectedEOF
	}
	return Batch(buf[:size:size]), buf[size:], nil
}

// zero reports whether p holds nothing but zero bytes: what a file system may
// leave of a write that a power cut took back.
func zero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}

// Check compares b with its checksum.
func (b Batch) Check() error {
	if got, want := b.checksum(), binary.BigEndian.Uint32(b[atCRC:]); got != want {
		return fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	return nil
}

func (b Batch) checksum() uint32 { return crc32.Checksum(b[atAttributes:], castagnoli) }

// BaseOffset is the offset of the first record.
func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b[atBaseOffset:])) }

// LastOffset is the offset of the last record, inclusive.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the offset that follows the batch.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// LastOffsetDelta is the last record's offset less the base offset.
func (b Batch) LastOffsetDelta() int32 {
	return int32(binary.BigEndian.Uint32(b[atLastOffsetDelta:]))
}

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[atLeaderEpoch:])) }

// BaseTimestamp is what the records' timestamp deltas count from.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[atBaseTimestamp:])) }

// MaxTimestamp is the latest timestamp among the records.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[atMaxTimestamp:])) }

// ProducerID is -1 for a producer that is not idempotent.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[atProducerID:])) }

// ProducerEpoch is -1 for a producer that is not idempotent.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[atProducerEpoch:])) }

// BaseSequence is the sequence number of the first record, or -1.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[atBaseSequence:])) }

// Count is how many records the header claims.
func (b Batch) Count() int32 { return int32(binary.BigEndian.Uint32(b[atCount:])) }

// Payload is the records, compressed as Codec says.
func (b Batch) Payload() []byte { return b[HeaderLen:] }

func (b Batch) attributes() uint16 { return binary.BigEndian.Uint16(b[atAttributes:]) }

// Codec is how the records are compressed.
func (b Batch) Codec() Codec { return Codec(b.attributes() & 0x07) }

// LogAppendTime reports whether the broker, not the producer, set the time.
func (b Batch) LogAppendTime() bool { return b.attributes()&0x08 != 0 }

// Transactional reports whether the batch is part of a transaction.
func (b Batch) Transactional() bool { return b.attributes()&0x10 != 0 }

// Control reports whether the batch holds a marker and no records of users.
func (b Batch) Control() bool { return b.attributes()&0x20 != 0 }

// Stamp sets what the leader decides: the base offset and the leader epoch. Both
// are outside the checksum.
func (b Batch) Stamp(baseOffset int64, leaderEpoch int32) {
	binary.BigEndian.PutUint64(b[atBaseOffset:], uint64(baseOffset))
	binary.BigEndian.PutUint32(b[atLeaderEpoch:], uint32(leaderEpoch))
}

// Codec is a compression by its number in a batch's attributes.
type Codec int8

// The compressions of message format v2.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2
	LZ4    Codec = 3
	Zstd   Codec = 4
)

// String returns the name that users write in compression.type.
func (c Codec) String() string {
	names := [...]string{"none", "gzip", "snappy", "lz4", "zstd"}
	if c < 0 || int(c) >= len(names) {
		return fmt.Sprintf("codec(%d)", int8(c))
	}
	return names[c]
}
