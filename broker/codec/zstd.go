package codec

import (
	"bytes"
	"errors"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/headwater/headwater/broker/record"
)

// maxZstdWindow is the window that RFC 8878 wants every decoder to have, and
// enough for zstd's levels up to 19. It is what a frame can make a decoder hold,
// whatever it claims.
const maxZstdWindow = 8 << 20

// With a concurrency of 1, a decoder works on its caller's goroutine and starts
// none.
var zstdDecoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
}}

func unzstd(src []byte, maxBytes int64) ([]byte, error) {
	d := zstdDecoders.Get().(*zstd.Decoder)
	defer func() {
		d.Reset(nil) // lets go of src; its error says that there is nothing to read
		zstdDecoders.Put(d)
	}()
	// A bytes.Reader, since a decoder takes a bytes.Buffer whole, at once and
	// without a limit.
	if err := d.Reset(bytes.NewReader(src)); err != nil {
		return nil, corrupt(record.Zstd, err)
	}
	return readAll(record.Zstd, d, src, maxBytes)
}

// windowTooLarge reports whether err says that a zstd frame asks for more
// memory than it may have.
func windowTooLarge(err error) bool {
	return errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded)
}

// zstdEncoder is shared: one at a time is what a small box has memory for. Its
// window suits batches, which are seldom larger, and the fastest level is as
// dense as the default one on sensor readings.
var zstdEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(256<<10),
		zstd.WithLowerEncoderMem(true),
		zstd.WithZeroFrames(true))
})

func zstded(src []byte) ([]byte, error) {
	e, err := zstdEncoder()
	if err != nil {
		return nil, err
	}
	return e.EncodeAll(src, nil), nil
}
