package group

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Offset is where a group goes on reading a partition: all before it was read.
type Offset struct {
	TopicPartition
	Offset      int64
	LeaderEpoch int32 // -1 for not known
	Metadata    string
	Retention   time.Duration // as clients could ask until version 4; 0 for the broker's
}

// offset is a committed one.
type offset struct {
	Offset
	committed stamp
	at        int64 // where in the log its record is
}

// offsetBytes is what an offset takes beside its texts.
const offsetBytes = 192

func (o *offset) size() int64 { return int64(offsetBytes + len(o.Topic) + len(o.Metadata)) }

// CommitRequest keeps offsets for a group. One who is no member says generation -1
// and no member id.
type CommitRequest struct {
	Group, MemberID, InstanceID string
	Generation                  int32
	Offsets                     []Offset
}

// commit keeps r's offsets, all or none, and then replies. They can be fetched
// when they are as durable as an acknowledged record is, be it after the one who
// committed them was told that it takes too long.
func (g *group) commit(now time.Time, r *CommitRequest, reply func(error)) {
	if err := g.checkCommit(r); err != nil {
		reply(err)
		return
	}
	if m := g.byID[r.MemberID]; m != nil {
		m.touch(now)
	}
	if len(r.Offsets) == 0 {
		reply(nil)
		return
	}
	committed := g.stamp(now)
	records := make([]entry, 0, len(r.Offsets))
	for i := range r.Offsets {
		o := &r.Offsets[i]
		g.uncommitted[o.TopicPartition]++
		records = append(records, offsetRecord(g.id, o, committed.wall))
	}
	waiting := g.wait(now, func(_ time.Time, err error) { reply(err) })
	g.put(records, func(_ time.Time, baseOffset int64, err error) {
		for i, o := range r.Offsets {
			if g.uncommitted[o.TopicPartition]--; g.uncommitted[o.TopicPartition] == 0 {
				delete(g.uncommitted, o.TopicPartition)
			}
			if err == nil {
				g.keep(offset{o, committed, baseOffset + int64(i)})
			}
		}
		if waiting.answer() {
			reply(err)
		}
	})
}

func (g *group) checkCommit(r *CommitRequest) error {
	switch {
	case g.state == Dead:
		return ErrNotAvailable
	case r.Generation < 0 && g.state == Empty:
		return nil // a consumer that chooses its partitions itself, or an operator
	case r.Generation < 0 && r.MemberID == "" && r.InstanceID == "":
		return fmt.Errorf("%w: only members commit while there are some", ErrUnknownMember)
	}
	if err := g.checkGeneration(r.MemberID, r.InstanceID, r.Generation); err != nil {
		return err
	}
	if g.state == CompletingRebalance {
		return ErrRebalancing
	}
	return nil
}

// keep makes o the partition's offset, unless a later record has said another.
func (g *group) keep(o offset) {
	if have, ok := g.offsets[o.TopicPartition]; ok {
		if have.at > o.at {
			return
		}
		g.bytes -= have.size()
	}
	g.offsets[o.TopicPartition] = o
	g.bytes += o.size()
}

func (g *group) forget(tp TopicPartition) {
	if have, ok := g.offsets[tp]; ok {
		g.bytes -= have.size()
		delete(g.offsets, tp)
	}
}

// fetch returns the offsets of the partitions, in their order; where there is
// none, it is -1.
func (g *group) fetch(partitions []TopicPartition) []Offset {
	out := make([]Offset, len(partitions))
	for i, tp := range partitions {
		out[i] = NoOffset(tp)
		if have, ok := g.offsets[tp]; ok {
			out[i] = have.Offset
		}
	}
	return out
}

// NoOffset is the answer for a partition without a committed offset.
func NoOffset(tp TopicPartition) Offset {
	return Offset{TopicPartition: tp, Offset: -1, LeaderEpoch: -1}
}

// all returns every offset, in the order of topics and partitions.
func (g *group) all() []Offset {
	out := make([]Offset, 0, len(g.offsets))
	for _, o := range g.offsets {
		out = append(out, o.Offset)
	}
	slices.SortFunc(out, func(a, b Offset) int { return a.compare(b.TopicPartition) })
	return out
}

// of returns the partitions of topic that have an offset, in their order.
func (g *group) of(topic string) (all []TopicPartition) {
	for tp := range g.offsets {
		if tp.Topic == topic {
			all = append(all, tp)
		}
	}
	slices.SortFunc(all, TopicPartition.compare)
	return all
}

func (tp TopicPartition) compare(other TopicPartition) int {
	if c := strings.Compare(tp.Topic, other.Topic); c != 0 {
		return c
	}
	return int(tp.Partition) - int(other.Partition)
}

// deleteOffsets removes the offsets of partitions. The members of a consumer group
// keep those that they are subscribed to: errs are the partitions'.
func (g *group) deleteOffsets(partitions []TopicPartition, reply func(errs []error, err error)) {
	errs := make([]error, len(partitions))
	switch {
	case g.state == Dead:
		reply(nil, ErrUnknownGroup)
		return
	case g.state != Empty && g.protocolType != consumerProtocol:
		reply(nil, ErrNotEmpty)
		return
	}
	subscribed := g.subscribed()
	var gone []TopicPartition
	for i, tp := range partitions {
		if g.state != Empty && subscribed.has(tp.Topic) {
			errs[i] = ErrSubscribed
			continue
		}
		if _, ok := g.offsets[tp]; ok {
			gone = append(gone, tp)
		}
	}
	g.dropOffsets(gone, func(err error) {
		if err != nil {
			reply(nil, err)
			return
		}
		reply(errs, nil)
	})
}

// dropOffsets has the log, and then memory, forget offsets, and calls done.
func (g *group) dropOffsets(gone []TopicPartition, done func(err error)) {
	if len(gone) == 0 {
		done(nil)
		return
	}
	tombstones := make([]entry, 0, len(gone))
	for _, tp := range gone {
		tombstones = append(tombstones, entry{key: offsetKey(g.id, tp)})
	}
	g.put(tombstones, func(_ time.Time, baseOffset int64, err error) {
		for i, tp := range gone {
			if have, ok := g.offsets[tp]; err == nil && ok && have.at < baseOffset+int64(i) {
				g.forget(tp)
			}
		}
		done(err)
	})
}

// forgetThen drops an offset, and the group itself when it was the last.
func (g *group) forgetThen(tp TopicPartition, done func(error)) {
	switch g.state {
	case Dead:
		done(nil)
		return
	case Empty:
	default:
		done(ErrNotEmpty)
		return
	}
	var gone []TopicPartition
	if _, kept := g.offsets[tp]; kept || g.uncommitted[tp] > 0 {
		gone = append(gone, tp)
	}
	g.dropOffsets(gone, func(err error) {
		if err != nil || !g.idle() || !g.stored {
			done(err) // a group of which nothing is stored goes by itself
			return
		}
		g.delete(done)
	})
}

// expired returns the offsets that have been kept long enough (KIP-211): since the
// group is empty; or, of a topic that no member is subscribed to and of one that is
// read without members, since the commit.
func (g *group) expired(now time.Time, trusted bool, retention time.Duration) (gone []TopicPartition) {
	subscribed := topics{}
	if g.state != Empty {
		if g.protocolType != consumerProtocol || g.state != Stable {
			return nil
		}
		subscribed = g.subscribed()
	}
	for tp, o := range g.offsets {
		limit, age := retention, o.committed.age(now, trusted)
		switch {
		case subscribed.has(tp.Topic) || g.uncommitted[tp] > 0:
			continue
		case o.Retention > 0:
			limit = o.Retention
		case g.state == Empty && g.protocolType != "":
			age = min(age, g.since.age(now, trusted))
		}
		if age >= limit {
			gone = append(gone, tp)
		}
	}
	slices.SortFunc(gone, TopicPartition.compare)
	return gone
}
