package record

import (
	"encoding/binary"
	"fmt"
)

// Record is one record of a batch. Its slices point into the bytes it was read
// from. A nil Key or Value is Kafka's null, which differs from an empty one.
type Record struct {
	OffsetDelta    int32 // from the batch's base offset
	TimestampDelta int64 // from the batch's base timestamp
	Key            []byte
	Value          []byte
	Headers        []Header
}

// Header is a name and a value beside a record; names may repeat.
type Header struct {
	Key   string
	Value []byte // nil is null
}

// minRecordLen is the shortest record: a length, attributes, two deltas, a null
// key, a null value and no headers, a byte each.
const minRecordLen = 7

// maxPerCompressedByte bounds how many records one byte of a compressed payload
// may claim. Deflate, the densest codec on repeated input that producers use,
// ends near 1,032 bytes for one; 7 bytes make the smallest record.
const maxPerCompressedByte = 1032 / minRecordLen

// Validate reports the first rule that b, as a producer sent it, breaks. Its
// errors wrap ErrInvalid. The checksum is Next's to check. Compressed records are
// not looked into; their count is held against the bytes that are there.
func (b Batch) Validate() error {
	count := b.Count()
	switch {
	case count <= 0:
		return fmt.Errorf("%w: %d records", ErrInvalid, count)
	case b.LastOffsetDelta() != count-1:
		return fmt.Errorf("%w: %d records end at offset delta %d", ErrInvalid, count, b.LastOffsetDelta())
	case b.Control():
		return fmt.Errorf("%w: a control batch from a producer", ErrInvalid)
	case b.Codec() > Zstd:
		return fmt.Errorf("%w: unknown compression %d", ErrInvalid, b.Codec())
	case b.Codec() != None:
		if int64(count) > int64(len(b.Payload()))*maxPerCompressedByte {
			return fmt.Errorf("%w: %d records cannot be in %d compressed bytes", ErrInvalid, count, len(b.Payload()))
		}
		return nil
	}
	return checkRecords(b.Payload(), count)
}

// checkRecords walks count uncompressed records, which must be whole, fill
// payload to its end and number their offsets from 0 upward: a consumer that met
// one which is not could not get past it.
func checkRecords(payload []byte, count int32) error {
	if int64(count)*minRecordLen > int64(len(payload)) {
		return fmt.Errorf("%w: %d records cannot be in %d bytes", ErrInvalid, count, len(payload))
	}
	for i := range count {
		body, rest, err := splitRecord(payload)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		offsetDelta, err := checkRecord(body)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		if offsetDelta != i {
			return fmt.Errorf("%w: record %d has offset delta %d", ErrInvalid, i, offsetDelta)
		}
		payload = rest
	}
	if len(payload) != 0 {
		return fmt.Errorf("%w: %d bytes follow the last record", ErrInvalid, len(payload))
	}
	return nil
}

func splitRecord(payload []byte) (body, rest []byte, err error) {
	length, n := varint32(payload)
	if n <= 0 || length < 0 || int64(length) > int64(len(payload)-n) {
		return nil, payload, fmt.Errorf("%w: a record's length does not fit", ErrInvalid)
	}
	return payload[n : n+int(length)], payload[n+int(length):], nil
}

// checkRecord is parseRecord for who wants only to know that it would do.
func checkRecord(body []byte) (offsetDelta int32, err error) {
	p := parser{buf: body}
	r, headers := p.record()
	for range headers {
		p.header()
	}
	return r.OffsetDelta, p.end()
}

// Records calls yield for each of the count records in payload, which must be
// uncompressed, until yield returns false. It returns an error wrapping
// ErrInvalid where the bytes stop being records.
func Records(payload []byte, count int32, yield func(Record) bool) error {
	for i := range count {
		body, rest, err := splitRecord(payload)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		r, err := parseRecord(body)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		if !yield(r) {
			return nil
		}
		payload = rest
	}
	return nil
}

func parseRecord(body []byte) (Record, error) {
	p := parser{buf: body}
	r, headers := p.record()
	if headers > 0 {
		r.Headers = make([]Header, 0, headers)
	}
	for range headers {
		key, value := p.header()
		r.Headers = append(r.Headers, Header{Key: string(key), Value: value})
	}
	if err := p.end(); err != nil {
		return Record{}, err
	}
	return r, nil
}

// parser takes fields off buf. After the first that does not fit, bad is set and
// everything else it returns is zero.
type parser struct {
	buf []byte
	bad bool
}

// record takes a record's fields up to its headers, and how many of those
// follow: no more than the bytes that are left could hold.
func (p *parser) record() (r Record, headers int) {
	p.skip(1) // attributes, unused
	r.TimestampDelta = p.varint64()
	r.OffsetDelta = p.varint32()
	r.Key = p.bytes()
	r.Value = p.bytes()
	count := p.varint32()
	if count < 0 || int64(count) > int64(len(p.buf))/2 { // a header is two bytes at least
		p.bad = true
	}
	if p.bad {
		return Record{}, 0
	}
	return r, int(count)
}

// header takes a header, whose key, other than its value, is never null.
func (p *parser) header() (key, value []byte) {
	key, value = p.bytes(), p.bytes()
	p.bad = p.bad || key == nil
	return key, value
}

// end reports whether the fields were there, and nothing behind them.
func (p *parser) end() error {
	if p.bad || len(p.buf) != 0 {
		return fmt.Errorf("%w: a record's fields do not fill it", ErrInvalid)
	}
	return nil
}

func (p *parser) varint64() int64 {
	v, n := binary.Varint(p.buf)
	if p.bad || n <= 0 {
		p.bad = true
		return 0
	}
	p.buf = p.buf[n:]
	return v
}

func (p *parser) varint32() int32 {
	v, n := varint32(p.buf)
	if p.bad || n <= 0 {
		p.bad = true
		return 0
	}
	p.buf = p.buf[n:]
	return v
}

// varint32 is binary.Varint for a field of 32 bits, for which Kafka's clients
// read five bytes and no more. n <= 0 means that there is none.
func varint32(buf []byte) (v int32, n int) {
	wide, n := binary.Varint(buf[:min(len(buf), binary.MaxVarintLen32)])
	if n <= 0 || wide != int64(int32(wide)) {
		return 0, 0
	}
	return int32(wide), n
}

func (p *parser) skip(n int) {
	if p.bad || n > len(p.buf) {
		p.bad = true
		return
	}
	p.buf = p.buf[n:]
}

// bytes returns nil for a null.
func (p *parser) bytes() []byte {
	n := p.varint32()
	if n < 0 || p.bad {
		return nil
	}
	if int64(n) > int64(len(p.buf)) {
		p.bad = true
		return nil
	}
	v := p.buf[:n:n]
	p.buf = p.buf[n:]
	return v
}
