package commitlog

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// slotBytes is what one key takes of an offsetMap, however long it is.
const slotBytes = 24

// offsetMap knows of each key that was put in at which offset it was last seen. It
// takes a fixed amount of memory: keys are told apart by 16 bytes of their SHA-256,
// of which nobody can find two that agree, by chance or on purpose. It is used by
// one goroutine.
type offsetMap struct {
	slots []slot
	limit int // slots that may be used: more would make probing slow
	used  int
}

type slot struct {
	hash       [16]byte
	nextOffset int64 // that follows the key's; 0 is an empty slot
}

// newOffsetMap returns an empty map that takes so many bytes, and has room for one
// key at least.
func newOffsetMap(bytes int64) *offsetMap {
	slots := max(bytes/slotBytes, 2)
	return &offsetMap{slots: make([]slot, slots), limit: int(max(slots*3/4, 1))}
}

// put notes key at offset, which no earlier one follows. It reports false, and
// notes nothing, when the key is new and there is no room.
func (m *offsetMap) put(key []byte, offset int64) bool {
	s, hash := m.find(key)
	if s.nextOffset == 0 {
		if m.used == m.limit {
			return false
		}
		m.used++
		s.hash = hash
	}
	s.nextOffset = offset + 1
	return true
}

// get returns the offset of key.
func (m *offsetMap) get(key []byte) (offset int64, ok bool) {
	s, _ := m.find(key)
	return s.nextOffset - 1, s.nextOffset != 0
}

// find returns the slot that has key, or the empty one for it.
func (m *offsetMap) find(key []byte) (*slot, [16]byte) {
	sum := sha256.Sum256(key)
	hash := [16]byte(sum[:16])
	high, _ := bits.Mul64(binary.BigEndian.Uint64(hash[:]), uint64(len(m.slots))) // spreads evenly over the slots
	for i := int(high); ; i++ {
		if i == len(m.slots) {
			i = 0
		}
		if s := &m.slots[i]; s.nextOffset == 0 || s.hash == hash {
			return s, hash
		}
	}
}

// filled is how much of the room is used, 1 for all of it.
func (m *offsetMap) filled() float64 { return float64(m.used) / float64(m.limit) }
