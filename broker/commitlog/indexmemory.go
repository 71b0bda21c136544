package commitlog

import (
	"sync"
	"sync/atomic"
)

// minIndexEntries is how many entries of a table an index always may keep.
const minIndexEntries = 64

// defaultIndexBytes is Options.IndexBytes when it is not said.
const defaultIndexBytes = 8 << 20

// indexMemory bounds what the indexes of all active segments take of memory
// together. When it is too much, the largest loses every other entry: what is
// looked for in that segment then takes a walk twice as long, and nothing has to
// be read again. An index of few entries is left alone, so that the bound is
// limit, or some 1,300 bytes for each log that is written to if that is more.
type indexMemory struct {
	limit int64
	used  atomic.Int64

	mu  sync.Mutex // guards all below; taken before an index's
	all map[*index]struct{}
}

func newIndexMemory(limit int64) *indexMemory {
	return &indexMemory{limit: limit, all: map[*index]struct{}{}}
}

// join counts x from now on. Nothing else uses it yet.
func (m *indexMemory) join(x *index) {
	m.mu.Lock()
	m.all[x] = struct{}{}
	m.mu.Unlock()
	x.mu.Lock()
	x.memory = m
	x.recount()
	x.mu.Unlock()
	m.fit()
}

// leave takes back what x was counted for.
func (m *indexMemory) leave(x *index) {
	m.mu.Lock()
	delete(m.all, x)
	m.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.memory = nil
	m.used.Add(-x.counted.Swap(0))
}

// fit makes indexes coarser until all fit, and a quarter more, so that it is rare.
func (m *indexMemory) fit() {
	if m.used.Load() <= m.limit {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.used.Load() > m.limit-m.limit/4 {
		var largest *index
		for x := range m.all {
			if largest == nil || x.counted.Load() > largest.counted.Load() {
				largest = x
			}
		}
		if largest == nil || !largest.thin() {
			return
		}
	}
}

// recount tells the memory how much x takes now, and reports whether that is more.
// x.mu is held.
func (x *index) recount() (more bool) {
	if x.memory == nil {
		return false
	}
	size := int64(cap(x.offsets) + cap(x.times))
	change := size - x.counted.Swap(size)
	x.memory.used.Add(change)
	return change > 0
}

// fit has other indexes, or x, give memory back. x.mu is not held.
func (x *index) fit() {
	x.mu.Lock()
	m := x.memory
	x.mu.Unlock()
	if m != nil {
		m.fit()
	}
}

// thin drops every other entry, but not the last, and reports whether there were
// enough for that.
func (x *index) thin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.offsets)/offsetEntryLen <= minIndexEntries && len(x.times)/timeEntryLen <= minIndexEntries {
		return false
	}
	x.offsets, x.times = everyOther(x.offsets, offsetEntryLen), everyOther(x.times, timeEntryLen)
	x.recount()
	return true
}

// everyOther returns a copy of a table with every other entry, the last among them.
func everyOther(entries []byte, width int) []byte {
	n := len(entries) / width
	out := make([]byte, 0, (n+1)/2*width)
	for i := (n + 1) % 2; i < n; i += 2 {
		out = append(out, entries[i*width:(i+1)*width]...)
	}
	return out
}
