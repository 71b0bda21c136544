// Package codec compresses and decompresses the payloads of record batches, as
// Kafka's clients do: gzip, snappy in xerial's framing or raw, LZ4 frames, zstd.
//
// Batches pass through headwater as they came; this room is for the few that
// must look inside one. What comes out of Decompress is bounded by what the
// caller allows, whatever the input claims, and so is the memory spent on the
// way. The package starts no goroutines; every function may be called from any
// number of them. Sizes are bytes.
package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/headwater/headwater/broker/record"
)

var (
	// ErrTooLarge is wrapped when the decompressed bytes would pass the
	// caller's limit.
	ErrTooLarge = errors.New("decompressed records are too large")
	// ErrCorrupt is wrapped by every error about bytes that their codec did not
	// write, and about codecs that do not exist.
	ErrCorrupt = errors.New("corrupt compressed records")
)

// Decompress returns what src was before c compressed it, or an error wrapping
// ErrTooLarge if that is more than maxBytes. With record.None it returns src
// itself.
func Decompress(c record.Codec, src []byte, maxBytes int64) ([]byte, error) {
	if c == record.None {
		if int64(len(src)) > maxBytes {
			return nil, tooLarge(c, maxBytes)
		}
		return src, nil
	}
	decompress, ok := decompressors[c]
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: unknown compression %v", ErrCorrupt, c)
	case len(src) == 0: // no codec writes nothing, not even for nothing
		return nil, fmt.Errorf("%w: %v of no bytes", ErrCorrupt, c)
	}
	return decompress(src, min(max(maxBytes, 0), math.MaxInt32-1))
}

// decompressors are given maxBytes within the range of an int32 and src with at
// least a byte.
var decompressors = map[record.Codec]func(src []byte, maxBytes int64) ([]byte, error){
	record.Gzip:   gunzip,
	record.Snappy: unsnappy,
	record.LZ4:    unlz4,
	record.Zstd:   unzstd,
}

// Compress returns src as c writes it. With record.None it returns src itself.
func Compress(c record.Codec, src []byte) ([]byte, error) {
	switch c {
	case record.None:
		return src, nil
	case record.Gzip:
		return gzipped(src)
	case record.Snappy:
		return snapped(src), nil
	case record.LZ4:
		return lz4ed(src)
	case record.Zstd:
		return zstded(src)
	}
	return nil, fmt.Errorf("%w: unknown compression %v", ErrCorrupt, c)
}

// Records calls yield for each record of b, however b is compressed, until
// yield returns false. The records may take up to maxBytes decompressed. Errors
// wrap ErrTooLarge, ErrCorrupt, or record.ErrInvalid where the decompressed
// bytes stop being records.
func Records(b record.Batch, maxBytes int64, yield func(record.Record) bool) error {
	payload, err := Decompress(b.Codec(), b.Payload(), maxBytes)
	if err != nil {
		return err
	}
	return record.Records(payload, b.Count(), yield)
}

func tooLarge(c record.Codec, maxBytes int64) error {
	return fmt.Errorf("%v: %w: more than %d bytes", c, ErrTooLarge, maxBytes)
}

func corrupt(c record.Codec, err error) error {
	return fmt.Errorf("%w: %v: %w", ErrCorrupt, c, err)
}

// firstGuess is the room that decompressing starts with; what needs more grows
// it, so that memory follows the bytes that come out and not those claimed.
func firstGuess(src []byte, maxBytes int64) int64 {
	return min(maxBytes, max(4*int64(len(src)), 1<<10))
}

// readAll reads r to its end, which must come within maxBytes. It is io.ReadAll
// with an end.
func readAll(c record.Codec, r io.Reader, src []byte, maxBytes int64) ([]byte, error) {
	// One byte more than is allowed tells the end from a part.
	buf := make([]byte, 0, firstGuess(src, maxBytes)+1)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > maxBytes:
			return nil, tooLarge(c, maxBytes)
		case err == io.EOF:
			return buf, nil
		case windowTooLarge(err):
			return nil, fmt.Errorf("%w: %w", tooLarge(c, maxBytes), err)
		case err != nil:
			return nil, corrupt(c, err)
		case len(buf) == cap(buf):
			larger := make([]byte, len(buf), min(2*int64(cap(buf)), maxBytes+1))
			copy(larger, buf)
			buf = larger
		}
	}
}

// resetWriter is a compressor that can be used again.
type resetWriter interface {
	io.WriteCloser
	Reset(io.Writer)
}

// compressed returns src as w writes it, from its beginning to its end.
func compressed(w resetWriter, src []byte) ([]byte, error) {
	var out bytes.Buffer
	w.Reset(&out)
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}
