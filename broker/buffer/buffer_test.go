package buffer

import (
	"bytes"
	"testing"
)

// Every size that is lent has a pool of its own, which holds what was asked for
// and little more.
func TestClassOf(t *testing.T) {
	sizes := map[int]int{}
	for n := 0; n <= maxSize; n += 1 + n/1000 {
		class, size := classOf(n)
		if size < n || n > minSize && size > n+n/steps+1 {
			t.Fatalf("%d bytes get %d", n, size)
		}
		if class >= len(pools) {
			t.Fatalf("%d bytes belong into pool %d of %d", n, class, len(pools))
		}
		if other, ok := sizes[class]; ok && other != size {
			t.Fatalf("pool %d is for %d and for %d bytes", class, other, size)
		}
		sizes[class] = size
		if again, same := classOf(size); again != class || same != size {
			t.Fatalf("%d bytes are lent from pool %d and go back to %d, of %d", size, class, again, same)
		}
	}
	for class, size := range sizes {
		for other, as := range sizes {
			if class != other && size == as {
				t.Errorf("pools %d and %d are both for %d bytes", class, other, size)
			}
		}
	}
	if _, size := classOf(maxSize + 1); size != 0 {
		t.Errorf("more than the maximum is lent from a pool of %d bytes", size)
	}
}

// Growing keeps what is there, from the smallest to what no pool has.
func TestGrow(t *testing.T) {
	var b Buffer
	var want []byte
	for _, n := range []int{1, minSize, 100, 70_000, 1 << 20, maxSize} {
		b.Grow(n)
		more := bytes.Repeat([]byte{byte(n % 251)}, n)
		if spare := cap(b.Bytes) - len(b.Bytes); spare < n {
			t.Fatalf("grown by %d there is room for %d", n, spare)
		}
		b.Bytes, want = append(b.Bytes, more...), append(want, more...)
		if !bytes.Equal(b.Bytes, want) {
			t.Fatalf("grown by %d, the %d bytes from before are not the same", n, len(want)-n)
		}
	}
	b.Release()
	if len(b.Bytes) != 0 || b.lent != nil {
		t.Errorf("released, it still has %d bytes", len(b.Bytes))
	}
	b.Release() // of an empty one is nothing
}

// What is used after its release shows, when tests ask for it.
func TestPoison(t *testing.T) {
	Poison(true)
	defer Poison(false)
	b := Get(5000)
	kept := b.Bytes
	copy(kept, "still here")
	b.Release()
	if kept[0] != poisoned || kept[4999] != poisoned {
		t.Errorf("after the release the bytes begin with %q", kept[:10])
	}
}
