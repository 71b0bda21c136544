package replication

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

var (
	_ Replica   = (*partition.Partition)(nil)
	_ Proposals = (*partition.Set)(nil)
)

// What a follower appends are whole batches, in order, of no later epoch than the
// leader's; nothing behind the first that is not.
func TestCheck(t *testing.T) {
	damaged := bytes.Clone(batch(4, 1, 2))
	damaged[len(damaged)-1] ^= 1
	tail := batch(4, 1, 2)
	for name, tc := range map[string]struct {
		records [][]byte
		whole   int // of them
		base    int64
		next    int64
		err     error
	}{
		"nothing":        {nil, 0, 2, 2, nil},
		"all":            {[][]byte{batch(2, 1, 2), batch(4, 3, 1)}, 2, 2, 5, nil},
		"gaps":           {[][]byte{batch(3, 1, 2), withDelta(batch(7, 1, 1), 4), batch(12, 1, 1)}, 3, 3, 13, nil},
		"fromInside":     {[][]byte{batch(1, 1, 4), batch(5, 1, 1)}, 2, 1, 6, nil},
		"cutOff":         {[][]byte{batch(2, 1, 2), tail[:len(tail)-1]}, 1, 2, 4, nil},
		"cutInTheHeader": {[][]byte{batch(2, 1, 2), tail[:5]}, 1, 2, 4, nil},
		"onlyAPart":      {[][]byte{tail[:len(tail)-1]}, 0, 2, 2, errAny},
		"damaged":        {[][]byte{batch(2, 1, 2), damaged, batch(6, 1, 1)}, 1, 2, 4, record.ErrCorrupt},
		"before":         {[][]byte{batch(0, 1, 2)}, 0, 2, 2, record.ErrCorrupt},
		"backwards":      {[][]byte{batch(4, 1, 2), batch(2, 1, 2)}, 1, 4, 6, record.ErrCorrupt},
		"overlapping":    {[][]byte{batch(2, 1, 2), batch(3, 1, 2)}, 1, 2, 4, record.ErrCorrupt},
		"negativeDelta":  {[][]byte{withDelta(batch(2, 1, 1), -3)}, 0, 2, 2, record.ErrCorrupt},
		"laterEpoch":     {[][]byte{batch(2, 5, 2), batch(4, 6, 1)}, 1, 2, 4, record.ErrCorrupt},
		"oldFormat":      {[][]byte{oldFormat()}, 0, 2, 2, record.ErrOldFormat},
		"garbage":        {[][]byte{bytes.Repeat([]byte{0x7f}, 200)}, 0, 2, 2, errAny},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := check(bytes.Join(tc.records, nil), 2, 5)
			if want := bytes.Join(tc.records[:tc.whole], nil); !bytes.Equal(got.bytes, want) {
				t.Errorf("%d bytes, want %d", len(got.bytes), len(want))
			}
			if got.baseOffset != tc.base || got.nextOffset != tc.next {
				t.Errorf("offsets %d to %d, want %d to %d", got.baseOffset, got.nextOffset, tc.base, tc.next)
			}
			if tc.err == errAny && err == nil || tc.err != errAny && !errors.Is(err, tc.err) || tc.err == nil && err != nil {
				t.Errorf("error %v, want %v", err, tc.err)
			}
		})
	}
}

var errAny = errors.New("any")

func oldFormat() []byte {
	b := bytes.Clone(batch(2, 1, 1))
	b[16] = 1
	return b
}

// FuzzCheck: whatever a leader sends, what is taken is its beginning, and holds
// together.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(batch(2, 1, 2)), int64(2), int32(5))
	f.Add(append([]byte(batch(1, 1, 2)), batch(3, 2, 2)...), int64(2), int32(1))
	f.Fuzz(func(t *testing.T, records []byte, fetchOffset int64, leaderEpoch int32) {
		got, _ := check(records, max(fetchOffset, 0), leaderEpoch)
		if !bytes.HasPrefix(records, got.bytes) {
			t.Fatal("what was taken is not what came first")
		}
		next := int64(-1)
		for rest := got.bytes; len(rest) > 0; {
			b, behind, err := record.Next(rest)
			if err != nil || b.BaseOffset() < next || b.LeaderEpoch() > leaderEpoch || b.NextOffset() <= max(fetchOffset, 0) {
				t.Fatalf("batch at %d behind %d: %v", b.BaseOffset(), next, err)
			}
			next, rest = b.NextOffset(), behind
		}
	})
}

func wantOf(name string, id topic.ID, offset int64) want {
	return want{cluster.TopicPartition{Topic: name}, id, 4, offset, 3, 0}
}

// Over a session only what has changed is named, and what is not wanted any more; a
// break names all again.
func TestSession(t *testing.T) {
	a, b := wantOf("a", pressID, 5), wantOf("b", pumpID, 7)
	var s session
	expect := func(step string, got request, id, epoch int32, wants, forgotten []want) {
		t.Helper()
		if got.id != id || got.epoch != epoch || !slices.Equal(got.wants, wants) || !slices.Equal(got.forgotten, forgotten) {
			t.Errorf("%s: %+v", step, got)
		}
	}
	expect("begins", s.next([]want{a, b}, true), 0, 0, []want{a, b}, nil)
	s.answered(0)
	expect("none was given", s.next([]want{a, b}, true), 0, 0, []want{a, b}, nil)
	s.answered(33)
	expect("nothing new", s.next([]want{a, b}, true), 33, 1, nil, nil)
	s.answered(33)
	moved := wantOf("b", pumpID, 9)
	expect("one has moved", s.next([]want{a, moved}, true), 33, 2, []want{moved}, nil)
	s.answered(33)
	expect("one has gone", s.next([]want{moved}, true), 33, 3, nil, []want{a})
	s.answered(33)
	expect("it is back", s.next([]want{a, moved}, true), 33, 4, []want{a}, nil)
	s.answered(33)
	again := wantOf("b", topic.ID{9}, 0)
	expect("another topic of the name", s.next([]want{a, again}, true), 33, 5, []want{again}, []want{moved})
	s.answered(33)
	expect("by name from now on", s.next([]want{a, again}, false), 33, 0, []want{a, again}, nil)
	s.answered(34)
	s.broken()
	expect("after a break", s.next([]want{a}, false), 34, 0, []want{a}, nil)
	s.answered(35)
	s.lost()
	expect("after it was lost", s.next([]want{a}, false), 0, 0, []want{a}, nil)
	s.answered(36)
	s.epoch = 1<<31 - 1
	expect("the last epoch", s.next([]want{a}, false), 36, 1<<31-1, nil, nil)
	s.answered(36)
	expect("wraps", s.next([]want{a}, false), 36, 1, nil, nil)
}

func TestFetchVersion(t *testing.T) {
	named, unnamed := wantOf("a", pressID, 0), wantOf("a", topic.ID{}, 0)
	for name, tc := range map[string]struct {
		offered int16
		wants   []want
		version int16
		ok      bool
	}{
		"old":       {11, []want{named}, 0, false},
		"unknown":   {-1, []want{named}, 0, false},
		"diverging": {12, []want{named}, 12, true},
		"byID":      {13, []want{named}, 13, true},
		"newest":    {18, []want{named}, 16, true},
		"oneNoID":   {18, []want{named, unnamed}, 12, true},
	} {
		if version, ok := fetchVersion(tc.offered, tc.wants); version != tc.version || ok != tc.ok {
			t.Errorf("%s: version %d, %v; want %d, %v", name, version, ok, tc.version, tc.ok)
		}
	}
}

// A bucket lets what comes through and closes until it is paid for; a second's worth
// is saved up, and no more.
func TestBucket(t *testing.T) {
	start := time.Unix(1000, 0)
	var b throttle
	if b.openAt(start) != start || b.of("press", 0) {
		t.Error("closed without a rate")
	}
	b.set(100, func(topic string, index int32) bool { return topic == "press" && index == 1 })
	if !b.of("press", 1) || b.of("press", 0) {
		t.Error("the wrong partitions are throttled")
	}
	b.take(100, start)
	if got := b.openAt(start); got != start {
		t.Errorf("closed for %v after what was saved", got.Sub(start))
	}
	b.take(300, start)
	if got := b.openAt(start).Sub(start).Round(10 * time.Millisecond); got != 3*time.Second {
		t.Errorf("closed for %v, want 3 s", got)
	}
	later := start.Add(time.Hour)
	b.take(200, later)
	if got := b.openAt(later).Sub(later).Round(10 * time.Millisecond); got != time.Second {
		t.Errorf("after an hour closed for %v, want 1 s", got)
	}
}
