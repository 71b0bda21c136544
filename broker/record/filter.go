package record

import (
	"encoding/binary"
	"fmt"
)

// Each calls yield for each record of b, whose uncompressed records payload is,
// with the bytes that it has there, its length included. Headers are not looked
// into. It ends with the first error of yield, or one wrapping ErrInvalid where
// payload is not b's records, one offset after the other.
func (b Batch) Each(payload []byte, yield func(r Record, raw []byte) error) error {
	prev := int32(-1)
	for i := range b.Count() {
		body, rest, err := splitRecord(payload)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		p := parser{buf: body}
		r, _ := p.record()
		if p.bad || r.OffsetDelta <= prev || r.OffsetDelta > b.LastOffsetDelta() {
			return fmt.Errorf("%w: record %d is none, or its offset delta %d does not follow %d", ErrInvalid, i, r.OffsetDelta, prev)
		}
		if err := yield(r, payload[:len(payload)-len(rest)]); err != nil {
			return err
		}
		payload, prev = rest, r.OffsetDelta
	}
	if len(payload) != 0 {
		return fmt.Errorf("%w: %d bytes follow the last record", ErrInvalid, len(payload))
	}
	return nil
}

// With returns b with other records: count of b's own, compressed as codec says,
// the latest at maxTimestamp. What b says of its offsets, its producer and its
// sequence numbers stays, so that offsets stay too, and so does the time that
// records count theirs from.
func (b Batch) With(codec Codec, payload []byte, count int32, maxTimestamp int64) Batch {
	out := make(Batch, HeaderLen, HeaderLen+len(payload))
	copy(out, b)
	out = append(out, payload...)
	binary.BigEndian.PutUint32(out[atLength:], uint32(len(out)-atLeaderEpoch))
	binary.BigEndian.PutUint16(out[atAttributes:], out.attributes()&^codecBits|uint16(codec))
	binary.BigEndian.PutUint64(out[atMaxTimestamp:], uint64(maxTimestamp))
	binary.BigEndian.PutUint32(out[atCount:], uint32(count))
	binary.BigEndian.PutUint32(out[atCRC:], out.checksum())
	return out
}

// Emptied returns b without records, as Kafka's cleaner leaves one: a sign of how
// far its producer, or the log, has got.
func (b Batch) Emptied() Batch {
	out := b.With(None, nil, 0, b.MaxTimestamp())
	binary.BigEndian.PutUint64(out[atBaseTimestamp:], noTimestamp)
	binary.BigEndian.PutUint16(out[atAttributes:], out.attributes()&^deleteHorizonBit)
	binary.BigEndian.PutUint32(out[atCRC:], out.checksum())
	return out
}

const (
	codecBits        = 0x07
	deleteHorizonBit = 0x40 // the base timestamp is when Kafka's cleaner may drop tombstones
	noTimestamp      = 1<<64 - 1
)
