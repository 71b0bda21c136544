package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// A survey goes through a segment and tells batches from bytes that are none.
// What it holds in memory does not depend on what the bytes claim.

// maxSpans bounds the bad runs that a survey tells apart. What is between two
// later ones goes with them.
const maxSpans = 1024

// blockBytes is what a read that failed is tried again in: the most that one bad
// block of a disk can hide.
const blockBytes = 4 << 10

// span is a run of a segment's bytes that is no batch of the log. The offsets
// that it may have held are fromOffset up to toOffset; at a segment's end the
// latter is not known, and -1.
type span struct {
	from, to             int64
	fromOffset, toOffset int64
}

// findings are what a survey found.
type findings struct {
	bad        []span
	nextOffset int64 // that follows the last whole batch
	goodEnd    int64 // where the last whole batch ends
}

// middle returns the bad spans that a whole batch follows.
func (f findings) middle() []span {
	if n := len(f.bad); n > 0 && f.bad[n-1].toOffset < 0 {
		return f.bad[:n-1]
	}
	return f.bad
}

// bounds are what is known of a segment before it is read.
type bounds struct {
	size       int64
	baseOffset int64
	endOffset  int64 // no batch reaches past it: where the next segment starts
}

// noEnd is the endOffset of the last segment.
const noEnd = int64(math.MaxInt64)

// survey checks every byte of a segment from pos on, which a batch whose base
// offset is at least nextOffset follows, and calls yield with each whole batch's
// header. A block that cannot be read counts as bad. An error is one of reading
// altogether, or yield's.
func (b bounds) survey(r io.ReaderAt, pos, nextOffset int64, yield func(h record.Batch, pos, size int64) error) (findings, error) {
	f := findings{nextOffset: nextOffset, goodEnd: pos}
	buf := scanBuffers.Get().(*[scanBytes]byte)
	defer scanBuffers.Put(buf)
	w := &window{r: salvager{r}, size: b.size, buf: buf[:]}
	header := make(record.Batch, record.HeaderLen) // outlives the window, which a large batch moves on
	budget := 4*b.size + scanBytes
	for pos < b.size {
		size, err := w.batch(b, pos, f.nextOffset, header)
		switch {
		case err == nil:
			if err := yield(header, pos, size); err != nil {
				return f, err
			}
			f.close(pos, header.BaseOffset())
			pos += size
			f.goodEnd, f.nextOffset = pos, header.NextOffset()
			continue
		case !badData(err):
			return f, err
		}
		f.open(pos)
		if pos, err = w.resync(b, pos, f.nextOffset, &budget); err != nil {
			return f, err
		}
	}
	f.close(pos, -1)
	return f, nil
}

// open begins a bad span at pos.
func (f *findings) open(pos int64) {
	if len(f.bad) < maxSpans {
		f.bad = append(f.bad, span{from: pos, to: -1, fromOffset: f.nextOffset})
	} else {
		f.bad[maxSpans-1].to = -1
	}
}

// close ends the bad span that is open, if one is.
func (f *findings) close(pos, toOffset int64) {
	if n := len(f.bad); n > 0 && f.bad[n-1].to < 0 {
		f.bad[n-1].to, f.bad[n-1].toOffset = pos, toOffset
	}
}

// scanBuffers serve surveys: a start makes one of each log.
var scanBuffers = sync.Pool{New: func() any { return new([scanBytes]byte) }}

func newScanWindow(r io.ReaderAt, size int64) *window {
	return &window{r: r, size: size, buf: make([]byte, min(scanBytes, max(size, record.HeaderLen)))}
}

// batch checks the batch at pos, which must fit what is before and after it, and
// copies its header.
func (w *window) batch(b bounds, pos, prevOffset int64, header record.Batch) (size int64, err error) {
	h, size, err := w.header(pos, prevOffset)
	if err != nil {
		return 0, err
	}
	copy(header, h)
	if header.NextOffset() > b.endOffset || header.LastOffset()-b.baseOffset > maxRelative {
		return 0, fmt.Errorf("%w: offset %d is past the segment's end", record.ErrCorrupt, header.LastOffset())
	}
	if err := w.checksum(pos, size); err != nil {
		return 0, err
	}
	return size, w.checkJump(pos+size, prevOffset, header)
}

// checkJump doubts a batch that does not begin where the one before it ends. Its
// offset is outside its checksum: when the batch that follows, at next, says that
// there was no such jump, it is the offset that is damaged.
func (w *window) checkJump(next, prevOffset int64, header record.Batch) error {
	if header.BaseOffset() == prevOffset || next >= w.size {
		return nil
	}
	base, end := header.BaseOffset(), header.NextOffset()
	after, _, err := w.header(next, prevOffset)
	switch {
	case err != nil && !badData(err):
		return err
	case err == nil && after.BaseOffset() < end:
		return fmt.Errorf("%w: base offset %d, and the next batch has %d", record.ErrCorrupt, base, after.BaseOffset())
	}
	return nil
}

// resync returns where the first whole batch after pos stands that fits, and the
// segment's size when there is none. What a record holds may look like a batch:
// so where the damaged batch says that it ends is tried first, and inside it only
// what has a believable neighbour counts. budget is how many bytes may be held
// against checksums in vain.
func (w *window) resync(b bounds, pos, prevOffset int64, budget *int64) (int64, error) {
	header := make(record.Batch, record.HeaderLen)
	if end, ok := w.claimedEnd(pos); ok {
		if end == b.size {
			return end, nil
		}
		if _, err := w.batch(b, end, prevOffset, header); err == nil || !badData(err) {
			return end, err
		}
	}
	for pos++; *budget > 0; pos++ {
		var err error
		if pos, err = w.findMagic(pos); err != nil || pos < 0 {
			return b.size, err
		}
		_, size, err := w.header(pos, prevOffset)
		if err == nil {
			if _, err = w.batch(b, pos, prevOffset, header); err == nil && w.believable(pos+size, header.NextOffset()) {
				return pos, nil
			}
			*budget -= size
		}
		if err != nil && !badData(err) {
			return b.size, err
		}
	}
	return b.size, nil
}

// claimedEnd is where the damaged batch at pos ends if its length is right.
func (w *window) claimedEnd(pos int64) (int64, bool) {
	b, err := w.view(pos, record.HeaderLen)
	if err != nil || b[atMagic] != 2 {
		return 0, false
	}
	size, err := record.Size(b)
	return pos + size, err == nil && pos+size <= w.size
}

// findMagic returns the first place from pos on where a header can stand, by the
// one byte in it that is always the same; -1 when there is none.
func (w *window) findMagic(pos int64) (int64, error) {
	for pos+record.HeaderLen <= w.size {
		n := int(min(int64(len(w.buf)), w.size-pos)) - record.HeaderLen + 1
		n = min(n, len(w.buf)/2+1) // leaves the header within the window
		b, err := w.view(pos, n+record.HeaderLen-1)
		if err != nil {
			return -1, err
		}
		if i := bytes.IndexByte(b[atMagic:][:n], 2); i >= 0 {
			return pos + int64(i), nil
		}
		pos += int64(n)
	}
	return -1, nil
}

// believable reports whether what stands at pos can be what follows a batch: the
// end, another batch, its torn beginning, or zeros where it was to be.
func (w *window) believable(pos, prevOffset int64) bool {
	if pos+record.HeaderLen > w.size {
		return true
	}
	_, _, err := w.header(pos, prevOffset)
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	b, err := w.view(pos, record.HeaderLen)
	return err == nil && len(bytes.Trim(b, "\x00")) == 0
}

// salvager reads zeros in place of blocks that cannot be read.
type salvager struct{ r io.ReaderAt }

func (s salvager) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.r.ReadAt(p, off)
	if !disk.Unreadable(err) {
		return n, err
	}
	for n = 0; n < len(p); {
		end := min(len(p), n+blockBytes-int((off+int64(n))%blockBytes))
		m, err := s.r.ReadAt(p[n:end], off+int64(n))
		switch {
		case disk.Unreadable(err):
			clear(p[n:end])
		case err != nil && m < end-n:
			return n + m, err
		}
		n = end
	}
	return n, nil
}
