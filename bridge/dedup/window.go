// Package dedup remembers which message ids are stored, so that a message that is
// sent again is not stored again.
//
// A Window is the memory: pure, bounded in entries and in time, for all partitions
// together. Tail fills it after a start from where the ids are kept, the end of the
// log itself. The package starts nothing and decides nothing about messages. A
// Window is for one goroutine at a time, but for ID; Tail may be called from any.
// Offsets are Kafka's.
package dedup

import (
	"hash/maphash"
	"math/bits"
	"time"
)

// EntryBytes is what a Window takes of memory for each of its entries, at most.
const EntryBytes = 40

// ID stands for a message id in a scope. Two ids are alike once in 2^128.
type ID struct{ hi, lo uint64 }

// Window remembers where messages with ids were stored. Entries leave it in the
// order in which they came: when they are as old as it remembers, or when there is
// no room for another.
type Window struct {
	age     time.Duration
	most    uint32
	seeds   [2]maphash.Seed
	started time.Time

	// Entries are numbered as they come, the first live one is number front. What is
	// before it is dead, and ends a chain that leads there: so nothing is unlinked.
	front, next uint32
	chunks      []*[chunkLen]entry // the first holds front
	heads       []uint32           // by hash: the newest of its chain; made at the first Add
	evicted     int64
}

const (
	chunkBits = 10
	chunkLen  = 1 << chunkBits
)

type entry struct {
	id     ID
	offset int64
	at     uint32 // when it came, in ticks since the Window was made
	older  uint32 // the next of its chain
}

const tick = 100 * time.Millisecond // 2^32 of them are 13 years

// New makes a Window that remembers at most entries ids, each for age.
func New(entries int, age time.Duration) *Window {
	return &Window{
		age:     age,
		most:    uint32(max(entries, 1)),
		seeds:   [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		started: time.Now(),
		front:   chunkLen, // not 0, which stands in an unused head
		next:    chunkLen,
	}
}

// ID returns what stands for id in a scope. The seeds are this process's own: a
// device that knows the code cannot make two ids alike. It may be called from any
// goroutine.
func (w *Window) ID(scope uint32, id []byte) ID {
	hash := func(seed maphash.Seed) uint64 {
		var h maphash.Hash
		h.SetSeed(seed)
		var place [4]byte
		place[0], place[1], place[2], place[3] = byte(scope), byte(scope>>8), byte(scope>>16), byte(scope>>24)
		h.Write(place[:])
		h.Write(id)
		return h.Sum64()
	}
	return ID{hash(w.seeds[0]), hash(w.seeds[1])}
}

// Find returns the offset at which a message with the id was stored.
func (w *Window) Find(id ID, now time.Time) (offset int64, ok bool) {
	w.expire(now)
	if w.heads == nil {
		return 0, false
	}
	for n := *w.head(id); w.live(n); {
		e := w.entry(n)
		if e.id == id {
			return e.offset, true
		}
		if e.older-w.front >= n-w.front {
			break // it leads to one that came later: its number was used twice
		}
		n = e.older
	}
	return 0, false
}

// Add remembers that a message with the id is stored at offset. An id that is known
// stays as it is: the first message counts.
func (w *Window) Add(id ID, offset int64, now time.Time) {
	if _, known := w.Find(id, now); known {
		return
	}
	if w.heads == nil {
		w.heads = make([]uint32, 1<<bits.Len32(w.most-1))
	}
	if uint32(w.Len()) == w.most {
		w.dropFront()
		w.evicted++
	}
	if w.chunkOf(w.next) == len(w.chunks) {
		w.chunks = append(w.chunks, new([chunkLen]entry))
	}
	head := w.head(id)
	*w.entry(w.next) = entry{id: id, offset: offset, at: w.ticks(now), older: *head}
	*head = w.next
	w.next++
}

// Len is how many ids are remembered.
func (w *Window) Len() int { return int(w.next - w.front) }

// Evicted is how many ids were forgotten before their time, for want of room.
func (w *Window) Evicted() int64 { return w.evicted }

func (w *Window) expire(now time.Time) {
	ticks := w.ticks(now)
	for w.front != w.next && time.Duration(ticks-w.entry(w.front).at)*tick >= w.age {
		w.dropFront()
	}
}

func (w *Window) dropFront() {
	w.front++
	if w.front&(chunkLen-1) == 0 {
		w.chunks[0] = nil
		w.chunks = w.chunks[1:]
	}
}

func (w *Window) live(n uint32) bool { return n-w.front < w.next-w.front }

// chunkOf is the place of entry n's chunk, also when the numbers have run over.
func (w *Window) chunkOf(n uint32) int { return int((n - w.front&^(chunkLen-1)) >> chunkBits) }

func (w *Window) entry(n uint32) *entry {
	return &w.chunks[w.chunkOf(n)][n&(chunkLen-1)]
}

func (w *Window) head(id ID) *uint32 { return &w.heads[id.lo&uint64(len(w.heads)-1)] }

func (w *Window) ticks(now time.Time) uint32 { return uint32(now.Sub(w.started) / tick) }
