package dedup

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// naive is what a Window promises, in the plainest form.
type naive struct {
	age     time.Duration
	most    int
	known   []naiveEntry
	evicted int64
}

type naiveEntry struct {
	id     string
	offset int64
	at     time.Time
}

func (n *naive) find(id string, now time.Time) (int64, bool) {
	for len(n.known) > 0 && now.Sub(n.known[0].at) >= n.age {
		n.known = n.known[1:]
	}
	for _, e := range n.known {
		if e.id == id {
			return e.offset, true
		}
	}
	return 0, false
}

func (n *naive) add(id string, offset int64, now time.Time) {
	if _, known := n.find(id, now); known {
		return
	}
	if len(n.known) == n.most {
		n.known = n.known[1:]
		n.evicted++
	}
	n.known = append(n.known, naiveEntry{id, offset, now})
}

// Whatever is added, found and let grow old, a Window says what the plainest one
// would.
func TestWindowAgainstNaive(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		most, age := 1+rng.IntN(3*chunkLen), time.Duration(1+rng.IntN(100))*time.Second
		w := New(most, age)
		if seed%3 == 0 {
			w.front = math.MaxUint32 - chunkLen + 1 // the numbers run over soon
			w.next = w.front
		}
		n := &naive{age: age, most: most}
		now := w.started
		ids := 1 + rng.IntN(2*most+10)
		for step := range 3000 + 2*most {
			now = now.Add(time.Duration(rng.IntN(5)) * tick)
			if rng.IntN(2000) == 0 {
				now = now.Add(age / 2)
			}
			id := fmt.Sprint(rng.IntN(ids))
			if rng.IntN(3) > 0 {
				w.Add(w.ID(1, []byte(id)), int64(step), now)
				n.add(id, int64(step), now)
			}
			got, ok := w.Find(w.ID(1, []byte(id)), now)
			want, wantOK := n.find(id, now)
			if got != want || ok != wantOK || w.Len() != len(n.known) || w.Evicted() != n.evicted {
				t.Fatalf("seed %d, step %d: found %d %v of %d, %d evicted; want %d %v of %d, %d evicted",
					seed, step, got, ok, w.Len(), w.Evicted(), want, wantOK, len(n.known), n.evicted)
			}
			if chunks := w.Len()/chunkLen + 2; len(w.chunks) > chunks {
				t.Fatalf("seed %d, step %d: %d chunks for %d entries", seed, step, len(w.chunks), w.Len())
			}
		}
	}
}

// The same id in another scope is another one, and so is a scope's number that runs
// into the id.
func TestScopes(t *testing.T) {
	w := New(10, time.Minute)
	now := time.Now()
	w.Add(w.ID(1, []byte("a")), 7, now)
	for name, id := range map[string]ID{
		"other scope": w.ID(2, []byte("a")),
		"other id":    w.ID(1, []byte("b")),
		"longer id":   w.ID(1, []byte("a\x00")),
		"no id":       w.ID(1, nil),
	} {
		if offset, ok := w.Find(id, now); ok {
			t.Errorf("%s: found at %d", name, offset)
		}
	}
	if offset, ok := w.Find(w.ID(1, []byte("a")), now); !ok || offset != 7 {
		t.Errorf("the same: %d, %v", offset, ok)
	}
}

// The clock is the one that cannot jump.
func TestWindowIsMonotonic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(10, 2*time.Minute)
		w.Add(w.ID(1, []byte("a")), 7, time.Now())
		time.Sleep(2*time.Minute - time.Second)
		if _, ok := w.Find(w.ID(1, []byte("a")), time.Now()); !ok {
			t.Error("forgotten before its time")
		}
		time.Sleep(time.Second)
		if _, ok := w.Find(w.ID(1, []byte("a")), time.Now()); ok {
			t.Error("remembered after its time")
		}
	})
}

// A full Window takes no more than it says for each entry.
func TestWindowMemory(t *testing.T) {
	for _, most := range []int{65_537, 100_000, 131_072} { // just above a power of two is the worst
		w := New(most, time.Hour)
		now := time.Now()
		for i := range 2 * most {
			w.Add(w.ID(1, fmt.Append(nil, i)), int64(i), now)
		}
		took := len(w.heads)*4 + len(w.chunks)*chunkLen*32
		if limit := (most + 2*chunkLen) * EntryBytes; took > limit {
			t.Errorf("%d entries take %d bytes, want at most %d", most, took, limit)
		}
	}
}

// What has grown old gives its memory back.
func TestWindowGivesBack(t *testing.T) {
	w := New(100*chunkLen, time.Minute)
	now := w.started
	for i := range 10 * chunkLen {
		w.Add(w.ID(1, fmt.Append(nil, i)), int64(i), now)
	}
	if _, ok := w.Find(w.ID(1, []byte("1")), now.Add(time.Minute)); ok || w.Len() != 0 || len(w.chunks) > 1 {
		t.Errorf("%d entries and %d chunks after their time, want none", w.Len(), len(w.chunks))
	}
}

func BenchmarkWindow(b *testing.B) {
	w := New(100_000, time.Hour)
	now := time.Now()
	id := []byte("01JDEKXYZ-0123456789-00000000")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for at, n := len(id)-1, i; n > 0; at, n = at-1, n/10 {
			id[at] = byte('0' + n%10)
		}
		if h := w.ID(1, id); i%2 == 0 {
			w.Add(h, int64(i), now)
		} else {
			w.Find(h, now)
		}
	}
}
