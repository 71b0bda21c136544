package codec

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/snappy"

	"github.com/headwater/headwater/broker/record"
)

// Snappy comes in two forms. librdkafka and Go clients write one raw block. The
// Java client's library, xerial's snappy-java, writes a header and then blocks,
// each behind its length. The Java client reads both, and its form is what is
// written here.
const (
	xerialMagic     = "\x82SNAPPY\x00"
	xerialHeaderLen = len(xerialMagic) + 4 + 4 // version and the oldest version that can read it, int32 each, both 1
	xerialBlockLen  = 32 << 10                 // of uncompressed bytes, as snappy-java cuts them
)

// maxSnappyRatio is how many bytes one byte of a raw block can become at most: a
// copy of 64 bytes takes 3.
const maxSnappyRatio = 22

var (
	errSnappyClaim = errors.New("a block claims more than its bytes can hold")
	errXerialChunk = errors.New("a block's length does not fit")
)

func unsnappy(src []byte, maxBytes int64) ([]byte, error) {
	if len(src) < xerialHeaderLen || !bytes.HasPrefix(src, []byte(xerialMagic)) {
		return appendSnappy(nil, src, maxBytes)
	}
	out := make([]byte, 0, firstGuess(src, maxBytes))
	for chunks := src[xerialHeaderLen:]; len(chunks) > 0; {
		if len(chunks) < 4 {
			return nil, corrupt(record.Snappy, errXerialChunk)
		}
		size := int64(int32(binary.BigEndian.Uint32(chunks)))
		chunks = chunks[4:]
		if size < 0 || size > int64(len(chunks)) {
			return nil, corrupt(record.Snappy, errXerialChunk)
		}
		var err error
		if out, err = appendSnappy(out, chunks[:size], maxBytes); err != nil {
			return nil, err
		}
		chunks = chunks[size:]
	}
	return out, nil
}

// appendSnappy puts one raw block's contents behind out, which may reach
// maxBytes.
func appendSnappy(out, block []byte, maxBytes int64) ([]byte, error) {
	claim, n := binary.Uvarint(block)
	switch {
	case n <= 0 || claim > uint64(len(block))*maxSnappyRatio:
		return nil, corrupt(record.Snappy, errSnappyClaim)
	case claim > uint64(maxBytes-int64(len(out))):
		return nil, tooLarge(record.Snappy, maxBytes)
	}
	start := len(out)
	out = append(out, make([]byte, claim)...)
	// Strict, since the codec's successor S2 is no snappy to Kafka's clients.
	if _, err := snappy.DecodeStrict(out[start:start:len(out)], block); err != nil {
		return nil, corrupt(record.Snappy, err)
	}
	return out, nil
}

func snapped(src []byte) []byte {
	out := append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	var block []byte
	for len(src) > 0 {
		n := min(len(src), xerialBlockLen)
		block = snappy.Encode(block[:cap(block)], src[:n])
		out = binary.BigEndian.AppendUint32(out, uint32(len(block)))
		out = append(out, block...)
		src = src[n:]
	}
	return out
}
