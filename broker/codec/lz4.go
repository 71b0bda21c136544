package codec

import (
	"bytes"
	"sync"

	"github.com/pierrec/lz4/v4"

	"github.com/headwater/headwater/broker/record"
)

// A reader keeps no block between frames; while it reads, it holds one of the
// size that the frame asks for, 8 MiB at most.
var lz4Readers = sync.Pool{New: func() any { return lz4.NewReader(nil) }}

func unlz4(src []byte, maxBytes int64) ([]byte, error) {
	r := lz4Readers.Get().(*lz4.Reader)
	defer func() {
		r.Reset(nil) // returns the block, also after an error
		lz4Readers.Put(r)
	}()
	r.Reset(bytes.NewReader(src))
	return readAll(record.LZ4, r, src, maxBytes)
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
