package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/record"
)

// nemesis does to a region what happens to regions, while a producer writes records
// that all are to have.
type nemesis struct {
	*region
	rng   *rand.Rand
	acked map[uint64]int64 // offsets, by the records' values
	value uint64
	cut   map[int32]bool // does not hear the controller
	// With once, the producer is idempotent: it sends a record until it is acknowledged,
	// and only then the next.
	once bool
}

// step is one thing that happens.
func (n *nemesis) step(t *testing.T) {
	id := 1 + n.rng.Int32N(3)
	switch n.rng.IntN(20) {
	case 0, 1, 2, 3:
		n.produce(t)
	case 4, 5, 6, 7, 8, 9, 10, 11, 12:
		if n.hubs[id] != nil {
			_ = n.fetch(t, id) // whom to fetch from may be gone, or be somebody else by now
		}
	case 13:
		time.Sleep(time.Duration(n.rng.IntN(20)) * time.Second)
		if h := n.hubs[id]; h != nil {
			h.SaveHighWatermarks()
			h.SaveProducers()
		}
	case 14:
		n.propose()
	case 15:
		n.die(t, id)
	case 16, 17:
		if n.hubs[id] == nil && n.start(t, id) {
			delete(n.dead, id)
			n.cut[id] = false
			n.elect(t)
		}
	case 18:
		n.cut[id] = !n.cut[id]
		n.tellAll(t)
	case 19:
		n.move(t)
	}
	synctest.Wait()
	n.bury(t)
}

// produce writes to whoever leads, or believes to.
func (n *nemesis) produce(t *testing.T) {
	for _, id := range []int32{1, 2, 3} {
		h := n.hubs[id]
		if h == nil || h.p.LeaderEpoch() < 0 || n.once && h.p.LeaderEpoch() < n.LeaderEpoch {
			continue
		}
		b := n.next()
		value := n.value
		h.p.AppendThen(b, true, func(baseOffset int64, err error) {
			if errors.Is(err, ErrOutOfOrderSequence) || errors.Is(err, ErrProducerEpoch) {
				t.Errorf("sequence %d, of %d acknowledged: %v", b.BaseSequence(), len(n.acked), err)
			}
			if err == nil {
				n.acked[value] = baseOffset
			}
		})
		synctest.Wait()
	}
}

// next makes a batch of one record, whose value says which it is.
func (n *nemesis) next() record.Batch {
	if !n.once {
		n.value++
	} else if _, done := n.acked[n.value]; done {
		n.value++
	}
	var bu record.Builder
	bu.Add(0, nil, binary.BigEndian.AppendUint64(nil, n.value), nil)
	if n.once {
		return sentBy(bu.Batch(), 7, int32(n.value))
	}
	return bu.Batch()
}

// die ends a broker, between two writes or during one.
func (n *nemesis) die(t *testing.T, id int32) {
	if n.hubs[id] == nil {
		return
	}
	if n.rng.IntN(2) == 0 {
		n.disks[id].CrashAt(n.rng.IntN(30))
		return
	}
	n.stop(id, n.rng.IntN(2) == 0, n.rng.Uint64())
	n.dead[id] = true
	n.elect(t)
}

// bury ends brokers whose power went during a write.
func (n *nemesis) bury(t *testing.T) {
	for id := range n.hubs {
		if n.disks[id].Crashed() {
			n.stop(id, n.rng.IntN(2) == 0, n.rng.Uint64())
			n.dead[id] = true
			n.elect(t)
		}
	}
}

// elect is Kafka's controller when brokers come or go: from the ISR alone, of which
// the last one stays.
func (n *nemesis) elect(t *testing.T) {
	alive := slices.DeleteFunc(slices.Clone(n.ISR), func(id int32) bool { return n.dead[id] })
	leader := n.Leader
	switch {
	case len(alive) == 0:
		leader, alive = -1, n.ISR[:1]
	case !slices.Contains(alive, leader):
		leader = alive[n.rng.IntN(len(alive))]
	case len(alive) == len(n.ISR):
		n.tellAll(t)
		return
	}
	n.decide(t, leader, alive)
}

// move lets another of the ISR lead.
func (n *nemesis) move(t *testing.T) {
	if leader := n.ISR[n.rng.IntN(len(n.ISR))]; !n.dead[leader] {
		n.decide(t, leader, n.ISR)
	}
}

func (n *nemesis) decide(t *testing.T, leader int32, isr []int32) {
	n.Leader, n.ISR, n.LeaderEpoch, n.PartitionEpoch = leader, slices.Clone(isr), n.LeaderEpoch+1, n.PartitionEpoch+1
	n.tellAll(t)
}

func (n *nemesis) tellAll(t *testing.T) {
	for _, id := range []int32{1, 2, 3} {
		if n.hubs[id] != nil && !n.cut[id] {
			n.tell(t, id)
		}
	}
}

// propose takes one round of proposals to the controller, which a broker that is cut
// off does not reach; answers get lost.
func (n *nemesis) propose() {
	for id, h := range n.hubs {
		for _, p := range h.ISRProposals(time.Now()) {
			a := ISRAnswer{Err: fmt.Errorf("lost")}
			if decided := n.alter(p); !n.cut[id] && n.rng.IntN(4) > 0 {
				a = decided()
				if n.rng.IntN(4) == 0 {
					a = ISRAnswer{Err: fmt.Errorf("lost")}
				}
			}
			h.ISRAnswered(p, a)
		}
	}
}

// alter is the controller's AlterPartition.
func (n *nemesis) alter(p Proposal) func() ISRAnswer {
	return func() ISRAnswer {
		switch {
		case p.LeaderEpoch != n.LeaderEpoch:
			return ISRAnswer{Err: ErrISRSuperseded}
		case slices.Equal(p.ISR, n.ISR):
		case p.PartitionEpoch != n.PartitionEpoch:
			return ISRAnswer{Err: ErrISRSuperseded}
		case slices.ContainsFunc(p.ISR, func(id int32) bool { return n.dead[id] }):
			return ISRAnswer{Err: ErrISRRefused}
		default:
			n.ISR, n.PartitionEpoch = p.ISR, n.PartitionEpoch+1
		}
		return ISRAnswer{Leader: n.Leader, LeaderEpoch: n.LeaderEpoch, PartitionEpoch: n.PartitionEpoch, ISR: n.ISR}
	}
}

// heal ends all trouble, and waits until everyone has the same.
func (n *nemesis) heal(t *testing.T) {
	for _, d := range n.disks {
		d.CrashAt(-1)
	}
	synctest.Wait()
	n.bury(t)
	for _, id := range []int32{1, 2, 3} {
		n.cut[id] = false
		if n.hubs[id] == nil && !n.start(t, id) {
			t.Fatalf("broker %d does not start again", id)
		}
		delete(n.dead, id)
	}
	n.elect(t)
	n.decide(t, n.ISR[0], n.ISR)
	n.catchUp(t, slices.DeleteFunc([]int32{1, 2, 3}, func(id int32) bool { return id == n.Leader })...)
}

// check finds all that was acknowledged where it was, and the same at everyone.
func (n *nemesis) check(t *testing.T) {
	end := n.leader().State().LogEndOffset
	want := bytesOf(t, n.leader(), end)
	for id, h := range n.hubs {
		if got := bytesOf(t, h.p, end); !bytes.Equal(got, want) {
			t.Errorf("broker %d has %d bytes that are not the leader's %d", id, len(got), len(want))
		}
	}
	found, last := map[uint64]int64{}, uint64(0)
	for rest := want; len(rest) > 0; {
		b, after, err := record.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		codec.Records(b, 1<<20, func(r record.Record) bool {
			value := binary.BigEndian.Uint64(r.Value)
			if n.once && len(found) > 0 && value != last+1 {
				t.Errorf("record %d follows record %d", value, last)
			}
			found[value], last = b.BaseOffset()+int64(r.OffsetDelta), value
			return true
		})
		rest = after
	}
	for value, offset := range n.acked {
		if at, ok := found[value]; !ok || at != offset {
			t.Errorf("record %d was acknowledged at offset %d, and is at %d, %v", value, offset, at, ok)
		}
	}
}

// Brokers lose their power at any write, their session, their leadership and their way
// to the controller: nothing that was acknowledged for all is lost or moves, what an
// idempotent producer sends is there once, and in the end all have the same.
func TestNothingAckedIsLost(t *testing.T) {
	acked, epochs := 0, int32(0)
	for seed := range uint64(nemesisSeeds) {
		synctest.Test(t, func(t *testing.T) {
			n := &nemesis{rng: rand.New(rand.NewPCG(seed, 3)), acked: map[uint64]int64{}, cut: map[int32]bool{}, once: seed%4 < 2}
			n.region = newRegion(t, minISR(1+int(seed%2)))
			for range 120 {
				n.step(t)
			}
			n.heal(t)
			n.check(t)
			acked, epochs = acked+len(n.acked), epochs+n.LeaderEpoch
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d acked, %d epochs", acked, epochs)
	if acked < nemesisSeeds || epochs < 4*nemesisSeeds {
		t.Errorf("%d records acknowledged, %d leader epochs: too little happens", acked, epochs)
	}
}

const nemesisSeeds = 150
