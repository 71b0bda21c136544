package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"github.com/headwater/headwater/broker/record"
)

const ( // places in a batch's header that package record has no method for
	atMagic      = 16 // int8
	atCRC        = 17 // uint32, over all from atAttributes to the end
	atAttributes = 21
)

const (
	walkBytes = 4 << 10   // read at a time when only headers matter: an index entry's reach
	scanBytes = 128 << 10 // read at a time when every byte is checked
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// window reads a file through a buffer of a fixed size, however large the batches
// in it claim to be.
type window struct {
	r    io.ReaderAt
	size int64 // nothing is read at or past it
	buf  []byte
	at   int64 // where buf starts in the file
	n    int   // how much of buf is filled
}

// view returns the n bytes at pos, valid until the next call. It returns
// io.ErrUnexpectedEOF when the file ends before; n is at most len(w.buf).
func (w *window) view(pos int64, n int) ([]byte, error) {
	if pos+int64(n) > w.size {
		return nil, io.ErrUnexpectedEOF
	}
	if pos < w.at || pos+int64(n) > w.at+int64(w.n) {
		m, err := w.r.ReadAt(w.buf[:min(int64(len(w.buf)), w.size-pos)], pos)
		w.at, w.n = pos, m
		if m < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return w.buf[pos-w.at:][:n], nil
}

// header returns the header of the batch at pos, and the batch's size, which
// fits the file. prevOffset is the lowest base offset that can stand there.
func (w *window) header(pos, prevOffset int64) (h record.Batch, size int64, err error) {
	b, err := w.view(pos, record.HeaderLen)
	if err != nil {
		return nil, 0, err
	}
	size, err = record.Size(b)
	if err != nil {
		return nil, 0, err
	}
	h = record.Batch(b)
	switch {
	case b[atMagic] != 2:
		return nil, 0, fmt.Errorf("%w: magic %d, want 2", record.ErrCorrupt, int8(b[atMagic]))
	case size > w.size-pos:
		return nil, 0, io.ErrUnexpectedEOF
	case h.BaseOffset() < prevOffset:
		return nil, 0, fmt.Errorf("%w: base offset %d after %d", record.ErrCorrupt, h.BaseOffset(), prevOffset)
	case h.LastOffsetDelta() < 0 || h.BaseOffset() > math.MaxInt64-math.MaxInt32-1:
		return nil, 0, fmt.Errorf("%w: base offset %d, last offset delta %d", record.ErrCorrupt, h.BaseOffset(), h.LastOffsetDelta())
	}
	return h, size, nil
}

// checksum compares the batch of size bytes at pos with its checksum.
func (w *window) checksum(pos, size int64) error {
	b, err := w.view(pos, record.HeaderLen)
	if err != nil {
		return err
	}
	want, got := binary.BigEndian.Uint32(b[atCRC:]), uint32(0)
	for at, end := pos+atAttributes, pos+size; at < end; {
		b, err := w.view(at, int(min(int64(len(w.buf)), end-at)))
		if err != nil {
			return err
		}
		got = crc32.Update(got, castagnoli, b)
		at += int64(len(b))
	}
	if got != want {
		return fmt.Errorf("%w: checksum %08x, want %08x", record.ErrCorrupt, got, want)
	}
	return nil
}

// scan checks every byte of a segment that starts at baseOffset and notes its
// batches in x. It returns where the first batch stands that is torn, zeroed, has
// a wrong checksum or a base offset that goes back, and the offset that follows
// the batch before it. An error is one of reading, never of what was read.
func scan(r io.ReaderAt, size, baseOffset int64, x *index) (goodBytes, nextOffset int64, err error) {
	w := window{r: r, size: size, buf: make([]byte, min(scanBytes, max(size, record.HeaderLen)))}
	pos, nextOffset := int64(0), baseOffset
	header := make(record.Batch, record.HeaderLen) // outlives the window, which a large batch moves on
	for pos < size {
		h, n, err := w.header(pos, nextOffset)
		if err == nil {
			copy(header, h)
			err = w.checksum(pos, n)
		}
		switch {
		case badData(err) || err == nil && header.LastOffset()-baseOffset > maxRelative:
			return pos, nextOffset, nil
		case err != nil:
			return pos, nextOffset, err
		}
		x.add(header, pos, n)
		pos, nextOffset = pos+n, header.NextOffset()
	}
	return pos, nextOffset, nil
}

// badData tells what was read from a failure to read.
func badData(err error) bool {
	return errors.Is(err, record.ErrCorrupt) || errors.Is(err, io.ErrUnexpectedEOF)
}

var walkBuffers = sync.Pool{New: func() any { return new([walkBytes]byte) }}

// walk calls yield for each batch from pos on, with its header, position and
// size, until yield returns false or the segment ends. It looks at headers only,
// and doubts a batch whose offset the next one contradicts; the first one only if
// it is the segment's.
func walk(r io.ReaderAt, size, pos, prevOffset int64, yield func(h record.Batch, pos, size int64) bool) error {
	buf := walkBuffers.Get().(*[walkBytes]byte)
	defer walkBuffers.Put(buf)
	w, first := window{r: r, size: size, buf: buf[:]}, pos
	for pos < size {
		h, n, err := w.header(pos, prevOffset)
		if err != nil {
			return fmt.Errorf("at byte %d: %w", pos, err)
		}
		if h.BaseOffset() != prevOffset && (pos != first || pos == 0) {
			header := record.Batch(append(make([]byte, 0, record.HeaderLen), h...))
			if err := w.checkJump(pos+n, prevOffset, header); err != nil {
				return fmt.Errorf("at byte %d: %w", pos, err)
			}
			h = header
		}
		prevOffset = h.NextOffset()
		if !yield(h, pos, n) {
			return nil
		}
		pos += n
	}
	return nil
}
