package e2e

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"testing"
)

// anomaly is a way in which a log breaks what it promised. The names are those of
// Jepsen's kafka workload where it has one.
type anomaly string

const (
	lostWrite    anomaly = "lost write"           // acked at a place, where it is not
	duplicate    anomaly = "duplicate"            // sent once, and stored twice
	invented     anomaly = "invented"             // stored, and never sent
	inconsistent anomaly = "inconsistent offsets" // one offset, two contents
	takenBack    anomaly = "taken back"           // a reader saw it, and it is gone
	pollSkip     anomaly = "poll skip"            // a reader was led past a record
	backwards    anomaly = "non-monotonic poll"   // a reader was led back
	readerEnded  anomaly = "reader ended"         // by an error that is not one to retry
)

// checker holds one topic against what its clients were told: who was acked what,
// and what each reader saw, over all that happens to the process. Every value is
// sent once: it is the record's name. Any goroutine may call it.
type checker struct {
	topic   string
	repeats bool // a value may be stored more than once: whoever sends it has no id for it

	mu     sync.Mutex // guards all below
	sent   map[string]bool
	acked  map[place]string
	kept   map[string]bool  // acked by an ack that tells no place
	seen   map[place]uint64 // content hash, whichever reader saw it first
	at     map[string]place // where each stored value was found
	known  map[anomaly]map[place]string
	sights int
}

func newChecker(topic string) *checker {
	return &checker{
		topic: topic, sent: map[string]bool{}, acked: map[place]string{}, kept: map[string]bool{}, seen: map[place]uint64{},
		at: map[string]place{}, known: map[anomaly]map[place]string{},
	}
}

// find keeps one finding of a kind for each place.
func (c *checker) find(kind anomaly, at place, format string, args ...any) {
	if c.known[kind] == nil {
		c.known[kind] = map[place]string{}
	}
	if _, ok := c.known[kind][at]; !ok {
		c.known[kind][at] = fmt.Sprintf(format, args...)
	}
}

// sending says that value is about to be sent.
func (c *checker) sending(value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent[value] = true
}

// ack says that value was acked at a place.
func (c *checker) ack(at place, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, taken := c.acked[at]; taken && before != value {
		c.find(inconsistent, at, "acked for %.40q and for %.40q", before, value)
	}
	c.acked[at] = value
}

// ackSomewhere says that value was acked without a word of where it is.
func (c *checker) ackSomewhere(value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[value] = true
}

// sight is one reader's way through the topic. It is the reader's goroutine's.
type sight struct {
	of   *checker
	next map[int32]int64 // by partition, once it has read of it
}

func (c *checker) reader() *sight { return &sight{of: c, next: map[int32]int64{}} }

// take says that the reader got r.
func (s *sight) take(r stored) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	next, begun := s.next[r.partition]
	switch {
	case begun && r.offset > next:
		s.of.find(pollSkip, r.place, "a reader at %d got %d", next, r.offset)
	case begun && r.offset < next:
		s.of.find(backwards, r.place, "a reader at %d got %d", next, r.offset)
	}
	s.next[r.partition] = r.offset + 1
	s.of.see(r)
}

func (s *sight) end(partition int32, err error) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.of.find(readerEnded, place{partition, s.next[partition]}, "%v", err)
}

func (c *checker) see(r stored) {
	c.sights++
	hash := contentHash(r)
	if before, again := c.seen[r.place]; again && before != hash {
		c.find(inconsistent, r.place, "was read with one content and with another, %.40q", r.value)
	} else if !again {
		c.seen[r.place] = hash
	}
}

// audit holds what is stored from the offsets in from to the log's end, by
// partition, against all that was told and seen there.
func (c *checker) audit(records []stored, from map[int32]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	index := byPlace(records)
	for at, value := range c.acked {
		if got, ok := index[at]; at.offset >= from[at.partition] && (!ok || got.value != value) {
			c.find(lostWrite, at, "acked for %.40q, now there is %.40q", value, got.value)
		}
	}
	for at := range c.seen {
		if _, ok := index[at]; at.offset >= from[at.partition] && !ok {
			c.find(takenBack, at, "a reader saw a record, now there is none")
		}
	}
	for _, r := range records {
		c.see(r)
		if !c.sent[r.value] {
			c.find(invented, r.place, "%.40q was never sent", r.value)
		}
		if other, twice := c.at[r.value]; twice && other != r.place && !c.repeats {
			c.find(duplicate, r.place, "%.40q is at %v too", r.value, other)
		}
		c.at[r.value] = r.place
	}
	for value := range c.kept { // that what was found once stays there is for seen to say
		if _, ok := c.at[value]; !ok {
			c.find(lostWrite, place{-1, int64(len(c.known[lostWrite]))}, "%.40q was acked, and is nowhere", value)
			delete(c.kept, value)
		}
	}
}

// found returns how many anomalies of a kind there are.
func (c *checker) found(kind anomaly) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.known[kind])
}

// sound reports whether nothing was found yet.
func (c *checker) sound() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.known) == 0
}

// report fails the test for every kind of anomaly found, with the first few of
// each.
func (c *checker) report(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for kind, all := range c.known {
		places := slices.SortedFunc(maps.Keys(all), byOffset)
		t.Errorf("%s: %d × %s", c.topic, len(all), kind)
		for _, at := range places[:min(5, len(places))] {
			t.Logf("%s, %v: %s: %s", c.topic, at, kind, all[at])
		}
	}
	t.Logf("%s: %d records acked, %d places seen in %d sights, %d stored", c.topic, len(c.acked)+len(c.kept), len(c.seen), c.sights, len(c.at))
}

func byOffset(a, b place) int {
	if a.partition != b.partition {
		return int(a.partition) - int(b.partition)
	}
	return int(a.offset - b.offset)
}

// contentHash is of all that makes one record another.
func contentHash(r stored) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %q %q %q", r.timestamp, r.key, r.value, r.headers)
	return h.Sum64()
}
