// Package buffer lends the memory that record batches pass through on their way
// between network and disk, so that it is not allocated, cleared and collected
// again for each of them.
//
// It bounds nothing: who borrows does so within a budget. What is lent again was
// given back before, and the garbage collector takes what was not borrowed between
// two of its cycles, so no more than the budgets allow is ever held, and nothing
// for long. Sizes are in bytes. A Buffer is one goroutine's at a time; different
// ones may be used from any.
package buffer

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	minSize = 1 << 10 // smaller ones are not worth the pool
	maxSize = 4 << 20 // larger ones are rare, and too much to keep
	steps   = 4       // sizes between a power of two and the next: at most a fifth of a buffer is not used
)

// Buffer is memory on loan. The zero value is an empty one.
type Buffer struct {
	Bytes []byte

	lent *memory // under Bytes; nil when it is not from a pool
}

// memory is what the pools hold. It is a structure so that giving it back does not
// allocate.
type memory struct{ array []byte }

// pools has one for each size up to maxSize.
var pools [1 + steps*22]sync.Pool

// poison is set by tests.
var poison atomic.Bool

// Poison makes Release fill what it gives back with a pattern, so that a test sees
// what is used after that. It is for tests.
func Poison(on bool) { poison.Store(on) }

// poisoned is the pattern; no batch's header has it.
const poisoned = 0xdb

// Get returns a Buffer of n bytes that hold anything.
func Get(n int) Buffer {
	class, size := classOf(n)
	if size == 0 {
		return Buffer{Bytes: make([]byte, n)}
	}
	m, ok := pools[class].Get().(*memory)
	if !ok {
		m = &memory{make([]byte, size)}
	}
	return Buffer{Bytes: m.array[:n], lent: m}
}

// Grow makes room for n bytes behind Bytes, which stay.
func (b *Buffer) Grow(n int) {
	if cap(b.Bytes)-len(b.Bytes) >= n {
		return
	}
	larger := Get(len(b.Bytes) + n)
	larger.Bytes = larger.Bytes[:copy(larger.Bytes, b.Bytes)]
	b.Release()
	*b = larger
}

// Release gives the memory back and leaves an empty Buffer. Nothing may point into
// it any more.
func (b *Buffer) Release() {
	lent := b.lent
	*b = Buffer{}
	if lent == nil {
		return
	}
	if poison.Load() {
		copy(lent.array, slices.Repeat([]byte{poisoned}, len(lent.array)))
	}
	class, _ := classOf(len(lent.array))
	pools[class].Put(lent)
}

// classOf returns the pool for buffers of n bytes and the size that all in it
// have; size 0 is for none.
func classOf(n int) (class, size int) {
	switch {
	case n <= minSize:
		return 0, minSize
	case n > maxSize:
		return 0, 0
	}
	power := bits.Len(uint(n-1)) - 1 // 1<<power < n <= 2<<power
	step := 1 << power / steps
	part := (n - 1<<power + step - 1) / step // 1 to steps
	return (power-bits.Len(minSize)+1)*steps + part, 1<<power + part*step
}
