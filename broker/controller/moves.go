package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
)

// shedding is a partition that waits for brokers to drop it. Before a broker is off
// the list of who has the partition, it has said that it does not lead or follow it
// any more: nobody would think of telling it later.
type shedding struct {
	next    cluster.Assignment
	leaving []int32        // who is told nothing more of it
	waiting map[int32]bool // brokers that have yet to answer
	late    bool           // it has been waited for once
}

// planMove says how p moves to other brokers or, with nil, back to where it was.
func (t *term) planMove(p *partition, to []int32) (cluster.Assignment, error) {
	if to == nil {
		if !moving(p.assignment) {
			return cluster.Assignment{}, fmt.Errorf("%s: %w", p.of, cluster.ErrNoReassignment)
		}
		return moveTo(p.assignment, origin(p.assignment)), nil
	}
	return moveTo(p.assignment, to), checkMove(to, t.liveBroker)
}

// move begins a move. The list of who is to have the partition comes before anybody
// adds a log.
func (t *term) move(ctx context.Context, p *partition, next cluster.Assignment) error {
	if same(next, p.assignment) {
		return nil
	}
	t.log.Info("partition moves", "partition", p.of.String(), "from", origin(p.assignment), "to", target(next))
	p.shed = nil
	if err := t.reassign(ctx, p, next); err != nil {
		return err
	}
	if err := t.initiate(ctx, []*partition{p}); err != nil {
		return err
	}
	for _, id := range next.Adding {
		t.orderOne(p, id, true)
	}
	return t.advanceMove(ctx, p)
}

// reassign writes who has p, and has everyone look at the list, which a new leader
// epoch makes them do.
func (t *term) reassign(ctx context.Context, p *partition, next cluster.Assignment) error {
	if err := t.rewrite(ctx, p.topic, func() { p.assignment = next }); err != nil {
		return err
	}
	t.announce(p)
	return t.decide(ctx, []*partition{p}, func(p *partition) (cluster.PartitionState, bool) {
		s := p.state
		s.LeaderEpoch++
		return s, true
	})
}

// moveAll begins moves, and says which cannot be.
func (t *term) moveAll(ctx context.Context, to map[cluster.TopicPartition][]int32) (map[cluster.TopicPartition]error, error) {
	out := make(map[cluster.TopicPartition]error, len(to))
	for _, tp := range inOrder(to) {
		p, err := t.partition(tp)
		var next cluster.Assignment
		if err == nil {
			next, err = t.planMove(p, to[tp])
		}
		out[tp] = err
		if err != nil {
			continue
		}
		if err := t.move(ctx, p, next); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// confineTo leaves p to replicas, if one of them can lead it, and reports whether
// nobody else is in the ISR.
func (t *term) confineTo(ctx context.Context, p *partition, replicas []int32) (bool, error) {
	err := t.decide(ctx, []*partition{p}, func(p *partition) (cluster.PartitionState, bool) {
		return confine(replicas, p.state, t.roll(p))
	})
	return err == nil && len(without(p.state.ISR, replicas)) == 0, err
}

// advanceMoves has all partitions that move do what they can.
func (t *term) advanceMoves(ctx context.Context) error {
	for _, info := range t.topics {
		for _, p := range info.partitions {
			if err := t.advanceMove(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// advanceMove takes the next step of a move: the leader and the ISR are of those
// that stay, then those that leave are told, and then the list is without them. A
// crash in between has the next controller take the step again.
func (t *term) advanceMove(ctx context.Context, p *partition) error {
	if !moving(p.assignment) || !p.exists || p.shed != nil || p.topic.deletion != nil {
		return nil
	}
	next, leaving, ok := step(p.assignment, p.state)
	if !ok {
		return nil
	}
	shed := &shedding{next: next, leaving: leaving, waiting: map[int32]bool{}}
	if len(leaving) > 0 {
		if _, ok := confine(next.Replicas, p.state, t.roll(p)); !ok {
			return nil // until one of them can lead
		}
		if confined, err := t.confineTo(ctx, p, next.Replicas); !confined {
			return err
		}
		for _, id := range leaving {
			if t.liveBroker(id) {
				shed.waiting[id] = true
				t.halt(p, id, true)
			}
		}
	}
	p.shed = shed
	return t.endShed(ctx, p)
}

// endShed ends a step, once nobody is waited for.
func (t *term) endShed(ctx context.Context, p *partition) error {
	shed := p.shed
	if shed == nil || len(shed.waiting) > 0 {
		return nil
	}
	done, err := t.leaveTo(ctx, p, shed.next)
	p.shed = nil // not sooner: who leaves is told nothing more
	switch {
	case err != nil || !done:
		return err
	case moving(shed.next):
		return t.advanceMove(ctx, p)
	default:
		return t.settled(ctx, p)
	}
}

// leaveTo writes the list of who has p after a step, unless somebody is in the ISR
// that is not on it: a leader that writes its ISR itself may have let it in again.
func (t *term) leaveTo(ctx context.Context, p *partition, next cluster.Assignment) (bool, error) {
	if len(without(p.state.ISR, next.Replicas)) > 0 {
		if confined, err := t.confineTo(ctx, p, next.Replicas); !confined {
			return false, err
		}
	}
	return true, t.reassign(ctx, p, next)
}

// shedBy notes that a broker has dropped partitions that move, or is gone.
func (t *term) shedBy(ctx context.Context, broker int32, p *partition) error {
	if p.shed == nil {
		return nil
	}
	delete(p.shed.waiting, broker)
	return t.endShed(ctx, p)
}

// hurryMoves ends the steps that have waited for long: a broker that is registered
// and does not answer holds up no move.
func (t *term) hurryMoves(ctx context.Context) error {
	for _, info := range t.topics {
		for _, p := range info.partitions {
			switch {
			case p.shed == nil:
			case !p.shed.late:
				p.shed.late = true
			default:
				t.log.Warn("broker has not said that it dropped a partition", "partition", p.of.String(), "brokers", slices.Sorted(maps.Keys(p.shed.waiting)))
				clear(p.shed.waiting)
				if err := t.endShed(ctx, p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// settled does what has waited for p to stop moving.
func (t *term) settled(ctx context.Context, p *partition) error {
	t.log.Info("partition moves no more", "partition", p.of.String(), "replicas", p.assignment.Replicas, "isr", p.state.ISR)
	if !t.legacy[p.of] {
		return nil
	}
	return t.SetWantedReassignments(ctx, t.wantedYet())
}

// wantedMoves begins the moves that the node for them asks for. What cannot be, or
// is done, is taken out of it.
func (t *term) wantedMoves(ctx context.Context) error {
	wanted, err := t.WantedReassignments(ctx)
	if err != nil || len(wanted) == 0 {
		return err
	}
	asked := len(wanted)
	for tp, to := range wanted {
		if to == nil {
			wanted[tp] = []int32{} // which is refused, and does not mean back
		}
		if p, err := t.partition(tp); err == nil && slices.Equal(target(p.assignment), to) {
			t.legacy[tp] = true // under way, or done
			delete(wanted, tp)
		}
	}
	results, err := t.moveAll(ctx, wanted)
	if err != nil {
		return err
	}
	for _, tp := range inOrder(results) {
		if err := results[tp]; err != nil {
			t.log.Warn("partition cannot move", "partition", tp.String(), "to", wanted[tp], "err", err)
			continue
		}
		t.legacy[tp] = true
	}
	left := t.wantedYet()
	if len(left) == asked {
		return nil // the node says so: to write it again would be news of it, without end
	}
	return t.SetWantedReassignments(ctx, left)
}

// wantedYet returns what is under way of the moves that the node asked for.
func (t *term) wantedYet() map[cluster.TopicPartition][]int32 {
	left := map[cluster.TopicPartition][]int32{}
	for tp := range t.legacy {
		if p, err := t.partition(tp); err == nil && moving(p.assignment) {
			left[tp] = target(p.assignment)
		} else {
			delete(t.legacy, tp)
		}
	}
	return left
}
