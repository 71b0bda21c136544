package commitlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/headwater/headwater/broker/record"
)

const (
	indexInterval = 4096 // log bytes between two entries

	// An entry of the offset index is a batch's last offset, relative to the
	// segment's base, and the batch's position, both int32. kafka-dump-log
	// complains about any other offset of that batch.
	offsetEntryLen = 8

	// An entry of the time index is the greatest timestamp so far, an int64, and
	// the last offset, relative, of the first batch that reached it, an int32.
	timeEntryLen = 12
)

// index is the offset and the time index of a segment that grows, as the bytes
// that its files will hold.
type index struct {
	baseOffset int64

	// What lies before from was not looked at when the log was opened. It is when
	// something before fromOffset is looked for, or the segment is sealed.
	fill       sync.Mutex // held while that is read
	from       atomic.Int64
	fromOffset int64

	mu           sync.Mutex // guards all below; the bytes within a slice's length never change
	offsets      []byte
	times        []byte
	sinceEntry   int64 // log bytes since the last entry
	maxTimestamp int64 // -1 when there is none
	maxAt        int32 // relative last offset of the batch that has it

	memory  *indexMemory // nil: not counted
	counted atomic.Int64 // of memory; changes under mu
}

func newIndex(baseOffset int64) *index { return &index{baseOffset: baseOffset, maxTimestamp: -1} }

// newIndexFrom returns an index that has nothing before a place in the segment.
func newIndexFrom(baseOffset, position, offset int64) *index {
	x := newIndex(baseOffset)
	x.from.Store(position)
	x.fromOffset = offset
	return x
}

// prepend puts before x what was found out about the bytes before from.
func (x *index) prepend(head *index) {
	if x.joinHead(head) {
		x.fit()
	}
}

func (x *index) joinHead(head *index) (grown bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.offsets = append(slices.Clone(head.offsets), x.offsets...)
	times := head.withMax()
	for ; len(x.times) > 0; x.times = x.times[timeEntryLen:] { // those that head has reached before
		if int64(binary.BigEndian.Uint64(x.times)) > head.maxTimestamp {
			break
		}
	}
	x.times = append(slices.Clone(times), x.times...)
	if head.maxTimestamp >= x.maxTimestamp {
		x.maxTimestamp, x.maxAt = head.maxTimestamp, head.maxAt
	}
	x.from.Store(0)
	return x.recount()
}

// add notes the batch of size bytes at pos; of b only the header is looked at.
func (x *index) add(b record.Batch, pos, size int64) {
	if x.note(b, pos, size) {
		x.fit()
	}
}

func (x *index) note(b record.Batch, pos, size int64) (grown bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	last := int32(b.LastOffset() - x.baseOffset)
	if t := b.MaxTimestamp(); t > x.maxTimestamp && b.Count() > 0 { // compaction may leave a batch empty
		x.maxTimestamp, x.maxAt = t, last
	}
	if x.sinceEntry > indexInterval {
		x.offsets = binary.BigEndian.AppendUint32(x.offsets, uint32(last))
		x.offsets = binary.BigEndian.AppendUint32(x.offsets, uint32(pos))
		x.times = x.withMax()
		x.sinceEntry = 0
		grown = x.recount()
	}
	x.sinceEntry += size
	return grown
}

// withMax returns the time index with an entry for the greatest timestamp so far.
// The file of a sealed segment ends with it.
func (x *index) withMax() []byte {
	last := int64(-1)
	if n := len(x.times); n > 0 {
		last = int64(binary.BigEndian.Uint64(x.times[n-timeEntryLen:]))
	}
	if x.maxTimestamp <= last {
		return x.times
	}
	times := binary.BigEndian.AppendUint64(x.times, uint64(x.maxTimestamp))
	return binary.BigEndian.AppendUint32(times, uint32(x.maxAt))
}

// tables returns the index as it stands.
func (x *index) tables() tables {
	x.mu.Lock()
	defer x.mu.Unlock()
	return tables{
		offsets:      table{bytes.NewReader(x.offsets), len(x.offsets) / offsetEntryLen, offsetEntryLen},
		times:        table{bytes.NewReader(x.times), len(x.times) / timeEntryLen, timeEntryLen},
		maxTimestamp: x.maxTimestamp,
	}
}

// files returns what the index files of a sealed segment hold.
func (x *index) files() (offsets, times []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.offsets, bytes.Clone(x.withMax())
}

// tables is an index to look things up in, wherever it is kept.
type tables struct {
	offsets      table
	times        table
	maxTimestamp int64 // of the segment; -1 when there is none
}

// readTables opens the index files of a sealed segment. They are not looked
// through; check does.
func readTables(offsets, times io.ReaderAt, offsetsSize, timesSize int64) (tables, error) {
	t := tables{maxTimestamp: -1}
	if offsetsSize%offsetEntryLen != 0 || timesSize%timeEntryLen != 0 {
		return t, fmt.Errorf("index sizes %d and %d are not of whole entries", offsetsSize, timesSize)
	}
	t.offsets = table{offsets, int(offsetsSize / offsetEntryLen), offsetEntryLen}
	t.times = table{times, int(timesSize / timeEntryLen), timeEntryLen}
	if t.times.n > 0 {
		last, _, err := t.times.timeEntry(t.times.n - 1)
		if err != nil {
			return t, err
		}
		t.maxTimestamp = last
	}
	return t, nil
}

// floor returns a position at or before the batch that holds the relative offset,
// where a batch starts, and the relative last offset of that batch, -1 when the
// index does not say.
func (t tables) floor(offset int64) (pos, last int64, err error) {
	i, err := t.offsets.search(offset, func(i int) (int64, error) {
		last, _, err := t.offsets.offsetEntry(i)
		return last, err
	})
	if i < 0 || err != nil {
		return 0, -1, err
	}
	last, pos, err = t.offsets.offsetEntry(i)
	return pos, last, err
}

// floorTime returns a relative offset at or before the first batch that reaches
// the timestamp.
func (t tables) floorTime(timestamp int64) (int64, error) {
	i, err := t.times.search(timestamp, func(i int) (int64, error) {
		reached, _, err := t.times.timeEntry(i)
		return reached, err
	})
	if i < 0 || err != nil {
		return 0, err
	}
	_, offset, err := t.times.timeEntry(i)
	return offset, err
}

// check reads both indexes through and reports the first entry that does not
// follow from the one before or lies outside the segment's bytes.
func (t tables) check(segmentBytes int64) error {
	prevOffset, prevPos := int64(-1), int64(-1)
	for i := range t.offsets.n {
		offset, pos, err := t.offsets.offsetEntry(i)
		if err != nil {
			return err
		}
		if offset <= prevOffset || pos <= prevPos || pos >= segmentBytes {
			return fmt.Errorf("offset index entry %d: offset %d at byte %d follows %d at %d", i, offset, pos, prevOffset, prevPos)
		}
		prevOffset, prevPos = offset, pos
	}
	prevTime, prevOffset := int64(-1), int64(-1)
	for i := range t.times.n {
		timestamp, offset, err := t.times.timeEntry(i)
		if err != nil {
			return err
		}
		if timestamp <= prevTime || offset <= prevOffset {
			return fmt.Errorf("time index entry %d: time %d at offset %d follows %d at %d", i, timestamp, offset, prevTime, prevOffset)
		}
		prevTime, prevOffset = timestamp, offset
	}
	return nil
}

// table is a run of n entries of one width, sorted by what they begin with.
type table struct {
	r     io.ReaderAt
	n     int
	width int
}

func (t table) offsetEntry(i int) (offset, pos int64, err error) {
	var e [offsetEntryLen]byte
	if err := t.read(e[:], i); err != nil {
		return 0, 0, err
	}
	offset, pos = int64(int32(binary.BigEndian.Uint32(e[:]))), int64(int32(binary.BigEndian.Uint32(e[4:])))
	return offset, pos, nil
}

func (t table) timeEntry(i int) (timestamp, offset int64, err error) {
	var e [timeEntryLen]byte
	if err := t.read(e[:], i); err != nil {
		return 0, 0, err
	}
	return int64(binary.BigEndian.Uint64(e[:])), int64(int32(binary.BigEndian.Uint32(e[8:]))), nil
}

func (t table) read(e []byte, i int) error {
	if n, err := t.r.ReadAt(e, int64(i)*int64(t.width)); n < len(e) {
		return fmt.Errorf("index entry %d: %w", i, err)
	}
	return nil
}

// search returns the last entry whose key is at most target, or -1.
func (t table) search(target int64, key func(i int) (int64, error)) (int, error) {
	low, high := 0, t.n // keys before low are at most target, keys from high on above it
	for low < high {
		mid := int(uint(low+high) / 2)
		k, err := key(mid)
		if err != nil {
			return -1, err
		}
		if k <= target {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low - 1, nil
}

// maxRelative is the greatest offset, relative to its segment's base, that an
// index entry can hold.
const maxRelative = math.MaxInt32
