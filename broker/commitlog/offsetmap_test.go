package commitlog

import (
	"fmt"
	"testing"
	"unsafe"
)

func TestOffsetMap(t *testing.T) {
	m := newOffsetMap(64 * slotBytes)
	want := map[string]int64{}
	for i := range int64(1000) {
		key := fmt.Sprint("key", i%40)
		if !m.put([]byte(key), i) {
			t.Fatalf("no room for %s with %d keys", key, m.used)
		}
		want[key] = i
	}
	for key, offset := range want {
		if got, ok := m.get([]byte(key)); got != offset || !ok {
			t.Errorf("%s is at %d, %v, want %d", key, got, ok, offset)
		}
	}
	if got, ok := m.get([]byte("other")); ok {
		t.Errorf("a key that was not put in is at %d", got)
	}
	if !m.put(nil, 0) || !m.put([]byte("key0"), 2000) {
		t.Error("no room for the empty key, or offset 0, or for one that is there")
	}
	if got, ok := m.get([]byte{}); got != 0 || !ok {
		t.Errorf("the empty key is at %d, %v, want 0", got, ok)
	}
	if m.used != 41 {
		t.Errorf("%d keys, want 41", m.used)
	}
}

// A full map takes no new key, forgets none and moves those that it has.
func TestOffsetMapFull(t *testing.T) {
	for _, bytes := range []int64{0, slotBytes, 5 * slotBytes, 1000} {
		m := newOffsetMap(bytes)
		n := int64(0)
		for m.put([]byte(fmt.Sprint(n)), n) {
			n++
		}
		if n < 1 || n != int64(m.limit) || m.filled() != 1 {
			t.Fatalf("%d bytes: %d keys, limit %d, filled %v", bytes, n, m.limit, m.filled())
		}
		if !m.put([]byte("0"), 77) || m.put([]byte("new"), 78) {
			t.Errorf("%d bytes: a key that is there was refused, or a new one taken", bytes)
		}
		if got, _ := m.get([]byte("0")); got != 77 {
			t.Errorf("%d bytes: key 0 is at %d, want 77", bytes, got)
		}
	}
}

func TestSlotBytes(t *testing.T) {
	if got := unsafe.Sizeof(slot{}); got != slotBytes {
		t.Errorf("a slot takes %d bytes, want %d", got, slotBytes)
	}
}
