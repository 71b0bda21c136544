package replica

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// book is a log: the leader epoch of each of its records. An epoch has one leader, so
// that a record is known by its offset and epoch.
type book struct {
	records []int32
	begun   int32 // the epoch that it leads, or led last
	begunAt int64
}

func (b *book) end() int64 { return int64(len(b.records)) }

func (b *book) lastEpoch() int32 {
	if len(b.records) == 0 {
		return Unknown
	}
	return b.records[len(b.records)-1]
}

// endOf is Kafka's endOffsetFor. An epoch begins with its leader, before there is a
// record of it, and is forgotten with what is truncated.
func (b *book) endOf(epoch int32) EpochEnd {
	last := b.lastEpoch()
	if b.begun > last && b.begunAt == b.end() {
		last = b.begun
	}
	if epoch > last || last == Unknown {
		return EpochEnd{Unknown, Unknown}
	}
	end := b.end()
	if i := slices.IndexFunc(b.records, func(e int32) bool { return e > epoch }); i >= 0 {
		end = int64(i)
	}
	if end == 0 {
		return EpochEnd{epoch, 0}
	}
	if found := b.records[end-1]; epoch != last || found == epoch {
		return EpochEnd{found, end}
	}
	return EpochEnd{epoch, end}
}

func (b *book) truncate(endOffset int64) { b.records = b.records[:endOffset] }

// fetch is one fetch of follower from leader, of at most n records. It returns false
// when the logs diverge.
func (b *book) fetch(t *testing.T, leader *book, n int64) bool {
	t.Helper()
	if last := b.lastEpoch(); last != Unknown {
		end := leader.endOf(last)
		diverged, known := Diverged(last, b.end(), end)
		if !known {
			r := Recover(0, leader.end(), b.end())
			b.truncate(r.FetchOffset)
			return false
		}
		if diverged {
			b.truncate(Truncate(end, b.endOf(end.Epoch), Log{b.end(), 0}).EndOffset)
			return false
		}
	}
	if got := b.records; int64(len(got)) > leader.end() || !slices.Equal(got, leader.records[:len(got)]) {
		t.Fatalf("%v fetches from %v and is not found to diverge", got, leader.records)
	}
	b.records = append(b.records, leader.records[b.end():min(leader.end(), b.end()+n)]...)
	return true
}

// Whoever leads, in the ISR or not: a follower that is not told that it diverges has
// the beginning of its leader's log. It removes nothing that they have in common, and
// is told at most once for each of its epochs.
func TestFollowersBecomeLikeTheirLeaders(t *testing.T) {
	diverged := 0
	for seed := range uint64(5000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		books := []*book{{begun: Unknown}, {begun: Unknown}, {begun: Unknown}}
		for epoch := range int32(12) {
			leader := books[rng.IntN(len(books))]
			leader.begun, leader.begunAt = epoch, leader.end()
			for range rng.IntN(8) {
				follower := books[rng.IntN(len(books))]
				if follower == leader {
					leader.records = append(leader.records, slices.Repeat([]int32{epoch}, rng.IntN(4))...)
					continue
				}
				common := commonPrefix(follower.records, leader.records)
				for tries := 0; !follower.fetch(t, leader, rng.Int64N(5)); tries++ {
					diverged++
					if tries > int(epoch) {
						t.Fatalf("seed %d: still diverges after %d fetches", seed, tries)
					}
				}
				if follower.end() < common {
					t.Fatalf("seed %d: %d records were common, %d are left", seed, common, follower.end())
				}
			}
		}
	}
	if diverged < 1000 {
		t.Errorf("the logs diverged %d times: the model does too little", diverged)
	}
}

func commonPrefix(a, b []int32) int64 {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return int64(n)
}
