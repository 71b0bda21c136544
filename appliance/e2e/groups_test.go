package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Two groups with three members read and commit, while the process is killed again
// and again: no committed offset goes back, every member goes on after each
// restart, and each group has read every record in the end.
func TestGroupsSurviveKills(t *testing.T) {
	p := prepare(t, t.TempDir(), "HEADWATER_GROUPS_INITIAL_REBALANCE_DELAY=200ms")
	restart(t, p)
	createTopic(t, p.Kafka, "readings", killPartitions)
	producer := startProducer(t, p.Kafka)
	north, south := &readers{name: "north"}, &readers{name: "south"}
	members := []*groupMember{north.join(t, p.Kafka), north.join(t, p.Kafka), south.join(t, p.Kafka)}

	rng := rand.New(rand.NewPCG(5, 6))
	for range rounds(t, "HEADWATER_KILL_ROUNDS", 5) {
		for _, m := range members {
			m.commits.awaitMore(t, p, 5+rng.Int64N(50), "commits of a member of "+m.group.name)
		}
		kill(t, p)
		acked := map[*readers]map[int32]int64{north: north.acknowledged(), south: south.acknowledged()}
		restart(t, p)
		for g, acked := range acked {
			found := committed(t, p.Kafka, g.name)
			for partition, offset := range acked {
				if found[partition] < offset {
					t.Errorf("%s, partition %d: offset %d was committed, and after the restart there is %d", g.name, partition, offset, found[partition])
				}
			}
		}
	}
	for _, m := range members {
		m.commits.awaitMore(t, p, 5, "commits of a member of "+m.group.name)
	}
	producer.stop(t)
	records := readAll(t, p.Kafka, "readings")
	for _, g := range []*readers{north, south} {
		g.awaitAll(t, records)
	}
}

// readers is a group: what its members have read, and been told is committed.
type readers struct {
	name string

	mu        sync.Mutex     // guards all below
	read      map[place]bool // whatever became of the commit
	committed map[int32]int64
	moved     chan struct{} // closed, and replaced, when committed moves
}

// groupMember is a member whose records are committed as it reads them.
type groupMember struct {
	group   *readers
	commits *progress
}

func (g *readers) join(t *testing.T, address string) *groupMember {
	t.Helper()
	if g.read == nil {
		g.read, g.committed, g.moved = map[place]bool{}, map[int32]int64{}, make(chan struct{})
	}
	m := &groupMember{g, newProgress()}
	cl := client(t, address, kgo.ConsumerGroup(g.name), kgo.ConsumeTopics("readings"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond), kgo.RetryBackoffFn(shortly),
		kgo.HeartbeatInterval(100*time.Millisecond), kgo.SessionTimeout(10*time.Second), kgo.BlockRebalanceOnPoll())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended; cl.CloseAllowingRebalance() })
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			m.readAndCommit(ctx, t, cl)
			cl.AllowRebalance()
		}
	}()
	return m
}

// readAndCommit takes what comes in one poll. A commit that fails is one that the
// process's end, or a rebalance, has met: what it was for is read again.
func (m *groupMember) readAndCommit(ctx context.Context, t *testing.T, cl *kgo.Client) {
	fetches := cl.PollRecords(ctx, 50)
	fetches.EachError(func(topic string, partition int32, err error) {
		if ctx.Err() == nil && errors.Is(err, kerr.OffsetOutOfRange) {
			t.Errorf("%s: %s-%d: %v", m.group.name, topic, partition, err)
		}
	})
	records := fetches.Records()
	m.group.saw(records)
	if len(records) == 0 || cl.CommitRecords(ctx, records...) != nil {
		return
	}
	m.group.took(records)
	m.commits.add(1)
}

// saw notes records that were read.
func (g *readers) saw(records []*kgo.Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range records {
		g.read[place{r.Partition, r.Offset}] = true
	}
}

// took notes records whose commit was acknowledged.
func (g *readers) took(records []*kgo.Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range records {
		g.committed[r.Partition] = max(g.committed[r.Partition], r.Offset+1)
	}
	close(g.moved)
	g.moved = make(chan struct{})
}

// acknowledged is the offsets that members were told are committed.
func (g *readers) acknowledged() map[int32]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	acked := map[int32]int64{}
	for partition, offset := range g.committed {
		acked[partition] = offset
	}
	return acked
}

// awaitAll waits until the group has committed behind the last of records, and
// holds that it has read them all: a committed offset says that everything before
// it was.
func (g *readers) awaitAll(t *testing.T, records []stored) {
	t.Helper()
	ends := map[int32]int64{}
	for _, r := range records {
		ends[r.partition] = r.offset + 1
	}
	deadline := within(t, patience).Done()
	for {
		g.mu.Lock()
		moved, done := g.moved, true
		for partition, end := range ends {
			done = done && g.committed[partition] == end
		}
		g.mu.Unlock()
		if done {
			g.checkRead(t, records)
			return
		}
		select {
		case <-moved:
		case <-deadline:
			t.Fatalf("%s: committed %v, the topic ends at %v", g.name, g.acknowledged(), ends)
		}
	}
}

func (g *readers) checkRead(t *testing.T, records []stored) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	missed := 0
	for _, r := range records {
		if !g.read[r.place] {
			missed++
		}
	}
	if missed > 0 {
		t.Errorf("%s: %d of %d records were committed and never read", g.name, missed, len(records))
	}
	t.Logf("%s: read and committed %d records", g.name, len(records))
}

// committed asks for a group's offsets in topic readings.
func committed(t *testing.T, address, group string) map[int32]int64 {
	t.Helper()
	ask := kmsg.NewOffsetFetchRequestGroup()
	ask.Group = group
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups = append(req.Groups, ask)
	resp, err := req.RequestWith(within(t, patience), client(t, address, kgo.RetryBackoffFn(shortly)))
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Groups[0].ErrorCode); err != nil {
		t.Fatalf("offsets of %s: %v", group, err)
	}
	offsets := map[int32]int64{}
	for _, topic := range resp.Groups[0].Topics {
		for _, p := range topic.Partitions {
			offsets[p.Partition] = p.Offset
		}
	}
	return offsets
}
