package controller

import (
	"context"
	"fmt"

	"github.com/headwater/headwater/broker/cluster"
)

// request is something to do in the goroutine that owns the term.
type request struct {
	do     func(context.Context, *term) error // an error of the store's
	answer func(error)                        // once, after do; does not wait
}

// refused is an error that is the answer: nothing is wrong with the store.
type refused struct{ error }

// ask has the term do something, and waits for it. It is answered once the orders
// that follow are on their way. When the store has failed nobody knows what came
// of the request: it is to be made again, of whoever is the controller then.
func ask[T any](ctx context.Context, c *Controller, do func(context.Context, *term) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var got outcome // touched by the term's goroutine alone
	done := make(chan outcome, 1)
	r := request{
		do: func(ctx context.Context, t *term) (err error) {
			got.value, err = do(ctx, t)
			if no, ok := err.(refused); ok {
				got.err, err = no.error, nil
			}
			return err
		},
		answer: func(err error) {
			if err != nil {
				got = outcome{err: fmt.Errorf("%w: %w", cluster.ErrNotController, err)}
			}
			done <- got
		},
	}
	var none T
	in := c.term.Load()
	if in == nil {
		return none, cluster.ErrNotController
	}
	select {
	case in.requests <- r:
	case <-in.over:
		return none, cluster.ErrNotController
	case <-ctx.Done():
		return none, ctx.Err()
	}
	select {
	case out := <-done: // always comes: the loop answers what it has taken
		return out.value, out.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// AlterPartition changes ISRs as a leader wants it. The error is about all of them.
func (c *Controller) AlterPartition(ctx context.Context, brokerID int32, brokerEpoch int64, changes []ISRChange) ([]ISRAnswer, error) {
	return ask(ctx, c, func(ctx context.Context, t *term) ([]ISRAnswer, error) {
		if err := t.current(brokerID, brokerEpoch, false); err != nil {
			return nil, refused{err}
		}
		return t.alterISRs(ctx, brokerID, changes)
	})
}

// ControlledShutdown has others lead what a broker leads, and returns what it leads
// still because there is nobody else.
func (c *Controller) ControlledShutdown(ctx context.Context, brokerID int32, brokerEpoch int64) (remaining []cluster.TopicPartition, err error) {
	return ask(ctx, c, func(ctx context.Context, t *term) ([]cluster.TopicPartition, error) {
		if err := t.current(brokerID, brokerEpoch, true); err != nil {
			return nil, refused{err}
		}
		return t.shutDown(ctx, brokerID)
	})
}

// ElectLeaders has preferred replicas lead or, with unclean, gives those that have
// no leader one, be it outside the ISR. of nil is all partitions, of which those
// that need no election are left out of the answer.
func (c *Controller) ElectLeaders(ctx context.Context, of []cluster.TopicPartition, unclean bool) (map[cluster.TopicPartition]error, error) {
	return ask(ctx, c, func(ctx context.Context, t *term) (map[cluster.TopicPartition]error, error) {
		return t.electWanted(ctx, of, unclean)
	})
}

// Reassign has partitions move to other brokers; nil ends a move that is under way.
func (c *Controller) Reassign(ctx context.Context, to map[cluster.TopicPartition][]int32) (map[cluster.TopicPartition]error, error) {
	return ask(ctx, c, func(ctx context.Context, t *term) (map[cluster.TopicPartition]error, error) {
		return t.moveAll(ctx, to)
	})
}

// Reassignments returns the partitions that move, of those in of; nil is all.
func (c *Controller) Reassignments(ctx context.Context, of []cluster.TopicPartition) (map[cluster.TopicPartition]cluster.Assignment, error) {
	return ask(ctx, c, func(_ context.Context, t *term) (map[cluster.TopicPartition]cluster.Assignment, error) {
		out := map[cluster.TopicPartition]cluster.Assignment{}
		for _, p := range t.chosen(of) {
			if moving(p.assignment) {
				out[p.of] = p.assignment
			}
		}
		return out, nil
	})
}

// ProducerIDs is a block of producer ids.
type ProducerIDs struct{ First, Count int64 }

// AllocateProducerIDs gives a broker a block of producer ids that nobody else has.
func (c *Controller) AllocateProducerIDs(ctx context.Context, brokerID int32, brokerEpoch int64) (ProducerIDs, error) {
	return ask(ctx, c, func(ctx context.Context, t *term) (ids ProducerIDs, err error) {
		if err := t.current(brokerID, brokerEpoch, false); err != nil {
			return ids, refused{err}
		}
		ids.First, ids.Count, err = t.NextProducerIDs(ctx, brokerID)
		return ids, err
	})
}

// UncleanChanged is for a topic that may let anyone lead now, "" for all topics:
// those that wait for a leader need not.
func (c *Controller) UncleanChanged(ctx context.Context, topic string) error {
	_, err := ask(ctx, c, func(ctx context.Context, t *term) (struct{}, error) {
		return struct{}{}, t.elect(ctx, t.some(func(p *partition) bool {
			return (topic == "" || p.of.Topic == topic) && t.leaderless(p)
		}))
	})
	return err
}

// current refuses what another registration of a broker asks than the one that is
// alive. The epoch -1 is that of a broker that does not say.
func (t *term) current(id int32, epoch int64, unsaid bool) error {
	b := t.brokers[id]
	switch {
	case b == nil:
		return fmt.Errorf("broker %d is not registered: %w", id, cluster.ErrStaleBrokerEpoch)
	case epoch == b.Epoch, unsaid && epoch == -1:
		return nil
	default:
		return fmt.Errorf("broker %d with epoch %d, it has %d: %w", id, epoch, b.Epoch, cluster.ErrStaleBrokerEpoch)
	}
}
