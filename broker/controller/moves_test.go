package controller_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/wire"
)

type moves = map[cluster.TopicPartition][]int32

func (w *world) move(of cluster.TopicPartition, to []int32) error {
	got, err := w.c.Reassign(w.Context(), moves{of: to})
	if err != nil {
		return err
	}
	return got[of]
}

func (w *world) wantOn(of cluster.TopicPartition, replicas, adding, removing []int32) {
	w.Helper()
	t, _ := w.tree.Topic(of.Topic)
	a := t.Partitions[of.Index]
	if !slices.Equal(a.Replicas, replicas) || !slices.Equal(a.Adding, adding) || !slices.Equal(a.Removing, removing) {
		w.Errorf("%s is on %+v; want %v, adding %v, removing %v", of, a, replicas, adding, removing)
	}
}

func TestMove(t *testing.T) {
	inWorld(t, []int32{1, 2, 3, 4}, func(w *world) {
		w.create("a", []int32{1, 2})
		w.lead()
		if err := w.move(tp("a", 0), []int32{3, 4}); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		w.wantOn(tp("a", 0), []int32{3, 4, 1, 2}, []int32{3, 4}, []int32{1, 2})
		w.want(tp("a", 0), 1, 1, 1, 2)
		w.consistent()
		if got, err := w.c.Reassignments(w.Context(), nil); err != nil || !slices.Equal(got[tp("a", 0)].Adding, []int32{3, 4}) {
			w.Errorf("under way: %+v, %v", got, err)
		}
		if r := w.fleet.Node(3).Replicas[tp("a", 0)]; !r.WasNew {
			w.Error("broker 3 was not told that a-0 is new")
		}

		if err := w.alter(tp("a", 0), 1, 2, 3); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		w.wantOn(tp("a", 0), []int32{3, 4, 1, 2}, []int32{3, 4}, []int32{1, 2})
		if err := w.alter(tp("a", 0), 1, 2, 3, 4); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		w.wantOn(tp("a", 0), []int32{3, 4}, nil, nil)
		w.want(tp("a", 0), 3, 3, 3, 4)
		for _, id := range []int32{1, 2} {
			if _, has := w.fleet.Node(id).Replicas[tp("a", 0)]; has {
				w.Errorf("broker %d has a log of a-0 still", id)
			}
		}
		w.consistent()
	})
}

func TestMovesThatCannotBe(t *testing.T) {
	inWorld(t, []int32{1, 2, 3, 4}, func(w *world) {
		w.create("a", []int32{1, 2})
		w.lead()
		for name, tc := range map[string]struct {
			of  cluster.TopicPartition
			to  []int32
			err error
		}{
			"unknownTopic":     {tp("b", 0), []int32{1}, cluster.ErrUnknownTopic},
			"unknownPartition": {tp("a", 5), []int32{1}, cluster.ErrUnknownPartition},
			"goneBroker":       {tp("a", 0), []int32{1, 9}, cluster.ErrInvalidAssignment},
			"nowhere":          {tp("a", 0), []int32{}, cluster.ErrInvalidAssignment},
			"nothingToCallOff": {tp("a", 0), nil, cluster.ErrNoReassignment},
			"whereItIs":        {tp("a", 0), []int32{1, 2}, nil},
		} {
			if err := w.move(tc.of, tc.to); !errors.Is(err, tc.err) {
				w.Errorf("%s: %v, want %v", name, err, tc.err)
			}
		}
		w.want(tp("a", 0), 1, 0, 1, 2) // nothing of it was written

		// While the records are at a new broker alone, the way back has to wait.
		if err := w.move(tp("a", 0), []int32{3, 4}); err != nil {
			w.Fatal(err)
		}
		if err := w.alter(tp("a", 0), 1, 3); err != nil {
			w.Fatal(err)
		}
		w.tree.Unregister(1)
		synctest.Wait()
		w.want(tp("a", 0), 3, 2, 3)
		if err := w.move(tp("a", 0), nil); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		w.want(tp("a", 0), 3, 3, 3)
		w.consistent()
		if err := w.alter(tp("a", 0), 3, 2); err != nil { // now they are at broker 2
			w.Fatal(err)
		}
		synctest.Wait()
		w.wantOn(tp("a", 0), []int32{1, 2}, nil, nil)
		if s, _ := w.tree.State(tp("a", 0)); s.Leader != 2 || !slices.Equal(s.ISR, []int32{2}) {
			w.Errorf("%+v, want broker 2 to lead", s)
		}
		w.consistent()
	})
}

// Only the order changes: the preferred leader is another, and leads when it is
// asked to.
func TestMoveToAnotherOrder(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2})
		w.lead()
		if err := w.move(tp("a", 0), []int32{2, 1}); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		w.wantOn(tp("a", 0), []int32{2, 1}, nil, nil)
		w.consistent()
		if got, err := w.c.ElectLeaders(w.Context(), nil, false); err != nil || got[tp("a", 0)] != nil {
			w.Error(got, err)
		}
		synctest.Wait()
		if s, _ := w.tree.State(tp("a", 0)); s.Leader != 2 {
			w.Errorf("leader %d, want 2", s.Leader)
		}
		w.consistent()
	})
}

// A topic that is to be deleted while it moves goes from all brokers that have any
// of it, and its moves are not wanted any more.
func TestDeletionEndsMoves(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2}, []int32{1, 2})
		w.lead()
		w.tree.WantMoves(moves{tp("a", 1): {3}})
		if err := w.move(tp("a", 0), []int32{1, 3}); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		w.tree.DeleteTopic("a")
		synctest.Wait()
		wantGone(w, "a")
		w.consistent()
	})
}

// A broker that is to drop a partition, is registered and says nothing is waited
// for, but not for ever; it is told yet when it listens again.
func TestMoveFromSilentBroker(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2})
		w.lead()
		w.fleet.Intercept(func(_ context.Context, id int32, req kmsg.Request, deliver func() (kmsg.Response, error)) (kmsg.Response, error) {
			if id == 1 && req.Key() == wire.StopReplica {
				return nil, errors.New("silent")
			}
			return deliver()
		})
		if err := w.move(tp("a", 0), []int32{2, 3}); err != nil {
			w.Fatal(err)
		}
		w.catchUp()
		w.want(tp("a", 0), 2, 2, 2, 3)
		w.wantOn(tp("a", 0), []int32{2, 3, 1}, []int32{3}, []int32{1})
		if err := w.alter(tp("a", 0), 2, 3, 1); !errors.Is(err, cluster.ErrIneligibleReplica) {
			w.Errorf("the one that leaves comes into the ISR again: %v", err)
		}
		w.tree.WriteISR(tp("a", 0), []int32{2, 3, 1}, true) // as an old leader may have it
		time.Sleep(2*w.cfg.RetryEvery + time.Second)
		synctest.Wait()
		w.wantOn(tp("a", 0), []int32{2, 3}, nil, nil)
		if s, _ := w.tree.State(tp("a", 0)); !slices.Equal(s.ISR, []int32{2, 3}) {
			w.Errorf("%+v, want broker 1 out of the ISR", s)
		}
		w.fleet.Intercept(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		w.consistent()
	})
}

// What the node for moves asks for is done or taken out of it.
func TestMovesByNode(t *testing.T) {
	inWorld(t, []int32{1, 2, 3, 4}, func(w *world) {
		w.create("a", []int32{1, 2}, []int32{1, 2})
		w.lead()
		w.tree.WantMoves(moves{tp("a", 0): {2, 3}, tp("a", 1): {9}, tp("b", 0): {1}})
		synctest.Wait()
		w.wantOn(tp("a", 0), []int32{2, 3, 1}, []int32{3}, []int32{1})
		w.wantOn(tp("a", 1), []int32{1, 2}, nil, nil)
		if left := w.tree.Left(); left != 1 {
			w.Errorf("%d moves stand in the node, want that of a-0", left)
		}
		w.catchUp()
		w.wantOn(tp("a", 0), []int32{2, 3}, nil, nil)
		if left := w.tree.Left(); left != 0 {
			w.Errorf("%d moves stand in the node", left)
		}
		w.consistent()
	})
}

// What another has added to a topic while a move of it is written is kept.
func TestMoveBesidesMorePartitions(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2})
		w.lead()
		w.tree.AddPartitions("a", []int32{3, 1})
		if err := w.move(tp("a", 0), []int32{1, 3}); err != nil { // perhaps before the other is seen
			w.Fatal(err)
		}
		synctest.Wait()
		w.want(tp("a", 1), 3, 0, 3, 1)
		w.wantOn(tp("a", 1), []int32{3, 1}, nil, nil)
		w.consistent()
	})
}
