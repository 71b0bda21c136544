package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/pierrec/lz4/v4"

	"github.com/headwater/headwater/broker/record"
)

// A reader keeps no block between frames; while it reads, it holds one of the
// size that the frame asks for, 8 MiB at most.
var lz4Readers = sync.Pool{New: func() any { return lz4.NewReader(nil) }}

func unlz4(src []byte, maxBytes int64) ([]byte, error) {
	src, err := oneLZ4Frame(src)
	if err != nil {
		return nil, err
	}
	r := lz4Readers.Get().(*lz4.Reader)
	defer func() {
		r.Reset(nil) // returns the block, also after an error
		lz4Readers.Put(r)
	}()
	r.Reset(bytes.NewReader(src))
	return readAll(record.LZ4, r, src, maxBytes)
}

const ( // the LZ4 frame format: lz4_Frame_format.md, version 1.6.4
	lz4Magic        = 0x184d2204
	lz4BlockSums    = 0x10 // in the flags: a checksum of 4 bytes behind each block
	lz4ContentSize  = 0x08 // a size of 8 bytes behind the flags
	lz4ContentSum   = 0x04 // a checksum of 4 bytes behind the end mark
	lz4DictionaryID = 0x01 // an id of 4 bytes behind the size
	lz4Stored       = 1 << 31
)

// oneLZ4Frame returns src if it is a single frame, by its lengths alone. Clients
// write one for a batch, and the Java client reads one only. A reader that went on
// to the next would set itself up anew for each, and thousands of empty ones fit
// into a few bytes.
func oneLZ4Frame(src []byte) ([]byte, error) {
	if len(src) < 7 || binary.LittleEndian.Uint32(src) != lz4Magic {
		return nil, fmt.Errorf("%w: lz4: no frame", ErrCorrupt)
	}
	flags, at := src[4], 7
	if flags&lz4ContentSize != 0 {
		at += 8
	}
	if flags&lz4DictionaryID != 0 {
		at += 4
	}
	for {
		if len(src)-at < 4 {
			return nil, fmt.Errorf("%w: lz4: the frame is cut off", ErrCorrupt)
		}
		size := binary.LittleEndian.Uint32(src[at:])
		at += 4
		if size == 0 {
			break
		}
		length := int64(size &^ lz4Stored)
		if flags&lz4BlockSums != 0 {
			length += 4
		}
		if length > int64(len(src)-at) {
			return nil, fmt.Errorf("%w: lz4: a block is cut off", ErrCorrupt)
		}
		at += int(length)
	}
	if flags&lz4ContentSum != 0 {
		at += 4
	}
	if at != len(src) {
		return nil, fmt.Errorf("%w: lz4: the frame ends at byte %d of %d", ErrCorrupt, at, len(src))
	}
	return src, nil
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
	var out bytes.Buffer
	w.Reset(&out)
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}
