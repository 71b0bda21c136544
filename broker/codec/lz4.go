package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/pierrec/lz4/v4"

	"github.com/headwater/headwater/broker/record"
)

// A frame of LZ4, as its format description has it: a magic number; a descriptor,
// which is two bytes, two optional fields and a checksum; blocks, each behind its
// length; a length of 0, and an optional checksum. Numbers are little-endian.
const (
	lz4Magic         = 0x184d2204
	lz4DescriptorLen = 2 + 1   // without the optional fields
	lz4Uncompressed  = 1 << 31 // in a block's length

	// In the descriptor's first byte, which optional fields there are.
	lz4DictionaryID = 1 << 0 // 4 bytes of the descriptor
	lz4ContentHash  = 1 << 2 // 4 bytes at the end
	lz4ContentSize  = 1 << 3 // 8 bytes of the descriptor
	lz4BlockHash    = 1 << 4 // 4 bytes behind each block
)

var errLZ4Frame = errors.New("not one whole frame")

// A reader keeps no block when it is done; while it reads, it holds one of the
// size that the frame asks for, 4 MiB at most.
var lz4Readers = sync.Pool{New: func() any { return lz4.NewReader(nil) }}

// unlz4 reads one frame, as Kafka's clients do. The library reads any number, and
// takes a new block for each.
func unlz4(src []byte, maxBytes int64) ([]byte, error) {
	if !isLZ4Frame(src) {
		return nil, corrupt(record.LZ4, errLZ4Frame)
	}
	r := lz4Readers.Get().(*lz4.Reader)
	defer func() {
		r.Reset(nil) // returns the block, also after an error
		lz4Readers.Put(r)
	}()
	r.Reset(bytes.NewReader(src))
	return readAll(record.LZ4, r, src, maxBytes)
}

// isLZ4Frame reports whether the lengths in src make it one frame to its end. It
// looks at nothing else.
func isLZ4Frame(src []byte) bool {
	const start = 4 + lz4DescriptorLen
	if len(src) < start || binary.LittleEndian.Uint32(src) != lz4Magic {
		return false
	}
	flags := src[4]
	at := int64(start) + lz4Optional(flags, lz4ContentSize, 8) + lz4Optional(flags, lz4DictionaryID, 4)
	for {
		if at+4 > int64(len(src)) {
			return false
		}
		block := binary.LittleEndian.Uint32(src[at:])
		at += 4
		if block == 0 {
			return at+lz4Optional(flags, lz4ContentHash, 4) == int64(len(src))
		}
		at += int64(block&^lz4Uncompressed) + lz4Optional(flags, lz4BlockHash, 4)
	}
}

// lz4Optional is the length of a field that is there if flag is set.
func lz4Optional(flags, flag byte, length int64) int64 {
	if flags&flag == 0 {
		return 0
	}
	return length
}

var lz4Writers = sync.Pool{New: func() any {
	w := lz4.NewWriter(nil)
	// The Java client's block size; a reader needs no more memory than one.
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ConcurrencyOption(1)); err != nil {
		panic(err) // the options are constants
	}
	return w
}}

func lz4ed(src []byte) ([]byte, error) {
	w := lz4Writers.Get().(*lz4.Writer)
	defer lz4Writers.Put(w)
	return compressed(w, src)
}
