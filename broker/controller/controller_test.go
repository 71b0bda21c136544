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
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

var (
	abroad  = []int32{1, 2, 3}
	pinned  = map[string]string{"unclean.leader.election.enable": "false"}
	unclean = map[string]string{"unclean.leader.election.enable": "true"}
)

// A controller finds topics that nobody has told of, and has brokers begin; a new
// broker is told who leads what before it is told what to do.
func TestTakesOver(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2, 3}, []int32{2, 3, 1}, []int32{9, 3})
		w.tree.CreateTopic("old", topic.ID{}, []int32{3, 1})
		w.lead()
		w.want(tp("a", 0), 1, 0, 1, 2, 3)
		w.want(tp("a", 1), 2, 0, 2, 3, 1)
		w.want(tp("a", 2), 3, 0, 3)
		w.want(tp("old", 0), 3, 0, 3, 1)
		w.consistent()
		for _, id := range abroad {
			n := w.fleet.Node(id)
			if n.Requests[0].Key() != wire.UpdateMetadata {
				w.Errorf("broker %d was told %T first", id, n.Requests[0])
			}
			if r := n.Replicas[tp("a", 0)]; !r.WasNew {
				w.Errorf("broker %d was not told that a-0 is new", id)
			}
		}
	})
}

// The next controller changes nothing where all is well.
func TestTakesOverWhatIsWell(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2, 3}, []int32{2, 3, 1})
		w.lead()
		before := w.tree.States()
		w.resign()
		w.tree.WriteISR(tp("a", 0), []int32{1, 2}, true) // its notification is removed, and it is read
		w.lead()
		w.want(tp("a", 0), 1, 0, 1, 2)
		if s, _ := w.tree.State(tp("a", 1)); s.PartitionEpoch != before[tp("a", 1)].PartitionEpoch {
			w.Errorf("a-1 was written: %+v", s)
		}
		if left := w.tree.Left(); left != 0 {
			w.Errorf("%d requests stand in the tree", left)
		}
		w.consistent()
	})
}

func TestTopicsCome(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.lead()
		w.create("a", []int32{1, 2})
		synctest.Wait()
		w.want(tp("a", 0), 1, 0, 1, 2)
		w.tree.AddPartitions("a", []int32{2, 3}, []int32{8, 9})
		synctest.Wait()
		w.want(tp("a", 1), 2, 0, 2, 3)
		if _, ok := w.tree.State(tp("a", 2)); ok {
			w.Error("a-2 has a state, though none of its replicas is alive")
		}
		w.register(9)
		synctest.Wait()
		w.want(tp("a", 2), 9, 0, 9)
		w.consistent()
	})
}

func TestBrokerFails(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2, 3}, []int32{2, 1}, []int32{3, 2}, []int32{1})
		w.lead()
		w.tree.Unregister(1)
		synctest.Wait()
		w.want(tp("a", 0), 2, 1, 2, 3)
		w.want(tp("a", 1), 2, 1, 2)
		w.want(tp("a", 2), 3, 0, 3, 2)
		w.want(tp("a", 3), -1, 1, 1)
		w.consistent()

		w.register(1)
		synctest.Wait()
		w.want(tp("a", 0), 2, 1, 2, 3) // it comes into the ISR when its leader says so
		w.want(tp("a", 3), 1, 2, 1)
		w.consistent()
		if err := w.alter(tp("a", 0), 2, 3, 1); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		w.want(tp("a", 0), 2, 1, 2, 3, 1)
		w.consistent()
	})
}

// A broker that registers again before anybody noticed has been away.
func TestBrokerBounces(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2, 3}, []int32{1})
		w.lead()
		w.register(1)
		synctest.Wait()
		w.want(tp("a", 0), 2, 1, 2, 3)
		w.want(tp("a", 1), 1, 2, 1)
		w.consistent()
	})
}

// A partition that one broker alone holds whole, as a gateway's, waits for it,
// whoever else has a copy and whoever is asked.
func TestPinnedPartitionWaits(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("home", []int32{1, 2, 3})
		w.tree.Configure("home", pinned)
		w.cfg.Unclean = true // the topic's own setting counts
		w.lead()
		if err := w.alter(tp("home", 0), 1); err != nil {
			w.Fatal(err)
		}
		w.tree.Unregister(1)
		synctest.Wait()
		w.want(tp("home", 0), -1, 1, 1)
		w.resign()
		w.lead()
		w.tree.Unregister(2)
		synctest.Wait()
		w.register(2)
		synctest.Wait()
		if _, err := w.c.ElectLeaders(w.Context(), nil, false); err != nil {
			w.Fatal(err)
		}
		w.want(tp("home", 0), -1, 1, 1)
		w.consistent()
		w.register(1)
		synctest.Wait()
		w.want(tp("home", 0), 1, 2, 1)
		w.consistent()
	})
}

func TestUncleanElection(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.cfg.Versions = controller.Versions34
		w.create("a", []int32{1, 2})
		w.create("b", []int32{1, 3})
		w.lead()
		for _, of := range []cluster.TopicPartition{tp("a", 0), tp("b", 0)} {
			if err := w.alter(of, 1); err != nil {
				w.Fatal(err)
			}
		}
		w.tree.Configure("a", unclean)
		w.tree.Unregister(1)
		synctest.Wait()
		w.want(tp("a", 0), 2, 1, 2)
		w.want(tp("b", 0), -1, 1, 1)
		if s, _ := w.tree.State(tp("a", 0)); !s.Recovering {
			w.Errorf("a-0 does not say that its leader recovers: %+v", s)
		}
		w.tree.Configure("", unclean)
		if err := w.c.UncleanChanged(w.Context(), ""); err != nil {
			w.Fatal(err)
		}
		w.want(tp("b", 0), 3, 2, 3)
		synctest.Wait()
		w.consistent()
	})
}

func TestDeletion(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2, 3}, []int32{2})
		w.create("b", []int32{1, 2})
		w.lead()
		w.tree.Configure("a", pinned)
		w.tree.DeleteTopic("a")
		w.tree.DeleteTopic("no such topic")
		synctest.Wait()
		wantGone(w, "a")
		w.consistent()

		w.create("a", []int32{3, 2}) // another of that name
		synctest.Wait()
		w.want(tp("a", 0), 3, 0, 3, 2)
		w.consistent()
	})
}

func wantGone(w *world, name string) {
	w.Helper()
	if _, ok := w.tree.Topic(name); ok || w.tree.Left() != 0 {
		w.Errorf("topic %s exists: %v; %d requests stand in the tree", name, ok, w.tree.Left())
	}
	for _, id := range abroad {
		for of := range w.fleet.Node(id).Replicas {
			if of.Topic == name && w.live(id) {
				w.Errorf("broker %d has a log of %s", id, of)
			}
		}
	}
}

// A topic stays while a broker that has some of it is away: it would come back
// with the log. One that refuses is asked again.
func TestDeletionWaits(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2}, []int32{2, 3})
		w.lead()
		w.tree.Unregister(3)
		w.tree.DeleteTopic("a")
		synctest.Wait()
		if _, ok := w.tree.Topic("a"); !ok || len(w.fleet.Node(1).Replicas) == 0 {
			w.Error("the topic was deleted without broker 3")
		}
		w.resign()
		w.lead()
		refusals := 0
		w.fleet.Intercept(func(_ context.Context, id int32, req kmsg.Request, deliver func() (kmsg.Response, error)) (kmsg.Response, error) {
			stop, ok := req.(*kmsg.StopReplicaRequest)
			if !ok || id != 2 || refusals == 2 {
				return deliver()
			}
			refusals++
			resp := stop.ResponseKind().(*kmsg.StopReplicaResponse)
			for _, topicOf := range stop.Topics {
				for _, p := range topicOf.PartitionStates {
					part := kmsg.NewStopReplicaResponsePartition()
					part.Topic, part.Partition, part.ErrorCode = topicOf.Topic, p.Partition, int16(wire.KafkaStorageError)
					resp.Partitions = append(resp.Partitions, part)
				}
			}
			return resp, nil
		})
		w.register(3)
		time.Sleep(3 * w.cfg.RetryEvery)
		synctest.Wait()
		wantGone(w, "a")
		if refusals != 2 {
			w.Errorf("broker 2 was asked %d times before it did, want 2", refusals)
		}
		w.consistent()
	})
}

// A broker that fails while a topic is being deleted does its part when it is back.
func TestBrokerFailsDuringDeletion(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2, 3})
		w.lead()
		w.fleet.Intercept(func(_ context.Context, id int32, req kmsg.Request, deliver func() (kmsg.Response, error)) (kmsg.Response, error) {
			if req.Key() == wire.StopReplica && id == 2 {
				return nil, errors.New("down")
			}
			return deliver()
		})
		w.tree.DeleteTopic("a")
		synctest.Wait()
		w.tree.Unregister(2)
		synctest.Wait()
		if _, ok := w.tree.Topic("a"); !ok {
			w.Fatal("the topic was deleted without broker 2")
		}
		w.fleet.Intercept(nil)
		w.register(2)
		synctest.Wait()
		wantGone(w, "a")
		w.consistent()
	})
}

// A broker that has nothing of a topic is waited for until it has heard that it is
// deleted, but not for long.
func TestDeletionIsHeard(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2})
		w.lead()
		w.fleet.Intercept(func(_ context.Context, id int32, _ kmsg.Request, deliver func() (kmsg.Response, error)) (kmsg.Response, error) {
			if id == 3 {
				return nil, errors.New("silent")
			}
			return deliver()
		})
		w.tree.DeleteTopic("a")
		synctest.Wait()
		if _, ok := w.tree.Topic("a"); !ok || len(w.fleet.Node(1).Replicas) > 0 {
			w.Error("gone before broker 3 has heard of it, or still at broker 1")
		}
		time.Sleep(3 * w.cfg.RetryEvery)
		synctest.Wait()
		wantGone(w, "a")
		w.fleet.Intercept(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		w.consistent()
	})
}

func TestControlledShutdown(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2, 3}, []int32{2, 1}, []int32{1, 3}, []int32{1})
		w.lead()
		if err := w.alter(tp("a", 2), 1); err != nil {
			w.Fatal(err)
		}
		if _, err := w.c.ControlledShutdown(w.Context(), 1, w.epochOf(1)-1); !errors.Is(err, cluster.ErrStaleBrokerEpoch) {
			w.Errorf("with an old broker epoch: %v", err)
		}
		left, err := w.c.ControlledShutdown(w.Context(), 1, w.epochOf(1))
		if err != nil || !slices.Equal(left, []cluster.TopicPartition{tp("a", 2)}) {
			w.Errorf("remaining: %v, %v; want a-2, whose ISR has nobody else", left, err)
		}
		w.want(tp("a", 0), 2, 1, 2, 3)
		w.want(tp("a", 1), 2, 1, 2)
		w.want(tp("a", 2), 1, 0, 1)
		w.want(tp("a", 3), 1, 0, 1)
		synctest.Wait()
		if r := w.fleet.Node(1).Replicas[tp("a", 1)]; !r.Stopped {
			w.Errorf("broker 1 was not told to stop following a-1: %+v", r)
		}
		if err := w.alter(tp("a", 1), 2, 1); !errors.Is(err, cluster.ErrIneligibleReplica) {
			w.Errorf("the one that leaves comes into the ISR again: %v", err)
		}
		if err := w.alter(tp("a", 2), 1, 3); err != nil {
			w.Fatal(err)
		}
		if left, err = w.c.ControlledShutdown(w.Context(), 1, -1); err != nil || len(left) != 0 {
			w.Errorf("remaining once broker 3 is in the ISR: %v, %v; want none", left, err)
		}
		w.tree.Unregister(1)
		synctest.Wait()
		w.consistent()
		w.register(1)
		synctest.Wait()
		w.catchUp()
		w.want(tp("a", 0), 2, 1, 2, 3, 1)
		w.consistent()
	})
}

func TestPreferredLeaders(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2}, []int32{1, 3}, []int32{2, 1})
		w.lead()
		bounce := func() {
			w.tree.Unregister(1)
			synctest.Wait()
			w.register(1)
			synctest.Wait()
			w.catchUp()
		}
		bounce()
		w.want(tp("a", 0), 2, 1, 2, 1)
		got, err := w.c.ElectLeaders(w.Context(), []cluster.TopicPartition{tp("a", 0), tp("a", 2), tp("a", 7)}, false)
		if err != nil || got[tp("a", 0)] != nil || !errors.Is(got[tp("a", 2)], cluster.ErrElectionNotNeeded) || !errors.Is(got[tp("a", 7)], cluster.ErrUnknownPartition) {
			w.Errorf("asked for: %v, %v", got, err)
		}
		w.want(tp("a", 0), 1, 2, 2, 1)
		w.tree.WantElections(tp("a", 1))
		synctest.Wait()
		w.want(tp("a", 1), 1, 2, 3, 1)
		if left := w.tree.Left(); left != 0 {
			w.Errorf("%d requests stand in the tree", left)
		}
		bounce()
		w.resign()
		w.tree.WantElections(tp("a", 1)) // while there is no controller
		w.lead()
		w.want(tp("a", 0), 2, 3, 2, 1)
		w.want(tp("a", 1), 1, 4, 3, 1)
		time.Sleep(w.cfg.BalanceEvery + time.Second)
		synctest.Wait()
		w.want(tp("a", 0), 1, 4, 2, 1)
		w.want(tp("a", 1), 1, 4, 3, 1)
		w.consistent()
	})
}

// What a leader asks is fenced by its registration and by both epochs, and what
// someone else wrote is seen.
func TestAlterPartition(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2, 3})
		w.lead()
		s, _ := w.tree.State(tp("a", 0))
		id, _ := w.tree.Topic("a")
		ask := func(broker int32, epoch int64, c controller.ISRChange) error {
			got, err := w.c.AlterPartition(w.Context(), broker, epoch, []controller.ISRChange{c})
			if err != nil {
				return err
			}
			return got[0].Err
		}
		mine := controller.ISRChange{ID: id.ID, ISR: []controller.ISRMember{{ID: 1, Epoch: -1}, {ID: 2, Epoch: w.epochOf(2)}}}
		if err := ask(1, w.epochOf(1)-1, mine); !errors.Is(err, cluster.ErrStaleBrokerEpoch) {
			w.Errorf("with an old broker epoch: %v", err)
		}
		if err := ask(9, 1, mine); !errors.Is(err, cluster.ErrStaleBrokerEpoch) {
			w.Errorf("of a broker that is not there: %v", err)
		}
		if err := ask(1, w.epochOf(1), controller.ISRChange{ID: topic.NewID()}); !errors.Is(err, cluster.ErrUnknownTopicID) {
			w.Errorf("of an unknown topic: %v", err)
		}
		if err := ask(1, w.epochOf(1), mine); err != nil {
			w.Errorf("of the leader: %v", err)
		}
		w.want(tp("a", 0), 1, 0, 1, 2)
		if err := w.alterAt(tp("a", 0), s, 1, 2); err != nil {
			w.Errorf("the same once more: %v", err)
		}
		if err := w.alterAt(tp("a", 0), s, 1, 3); !errors.Is(err, cluster.ErrVersion) {
			w.Errorf("with an old partition epoch: %v", err)
		}

		w.tree.WriteISR(tp("a", 0), []int32{1}, false)
		s, _ = w.tree.State(tp("a", 0))
		before := s
		before.PartitionEpoch--
		if err := w.alterAt(tp("a", 0), before, 1, 2, 3); !errors.Is(err, cluster.ErrVersion) {
			w.Errorf("when someone else has written: %v", err)
		}
		if err := w.alterAt(tp("a", 0), s, 1, 2, 3); err != nil {
			w.Errorf("when that has been seen: %v", err)
		}
		w.tree.Unregister(3)
		synctest.Wait()
		if err := w.alterAt(tp("a", 0), s, 1, 2, 3); !errors.Is(err, cluster.ErrFencedLeaderEpoch) {
			w.Errorf("with an old leader epoch: %v", err)
		}
		if err := w.alter(tp("a", 0), 1, 2, 3); !errors.Is(err, cluster.ErrIneligibleReplica) {
			w.Errorf("with a broker that is gone: %v", err)
		}
		w.consistent()
	})
}

// Leaders that write states themselves are heard.
func TestLeadersWriteStates(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2, 3})
		w.lead()
		w.tree.WriteISR(tp("a", 0), []int32{1, 3}, true)
		synctest.Wait()
		w.consistent()
		w.tree.WriteISR(tp("a", 0), []int32{3, 1, 2}, false)
		w.tree.Unregister(1) // decided on a state that is not known here yet
		synctest.Wait()
		w.want(tp("a", 0), 2, 1, 3, 2)
		w.consistent()
		if left := w.tree.Left(); left != 0 {
			w.Errorf("%d requests stand in the tree", left)
		}
	})
}

func TestDiskFails(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2, 3}, []int32{1, 2})
		w.lead()
		w.fleet.LoseDisk(1, tp("a", 0))
		w.tree.LoseDisk(1)
		synctest.Wait()
		w.want(tp("a", 0), 2, 1, 2, 3)
		w.want(tp("a", 1), 1, 0, 1, 2)
		if known := w.fleet.Node(3).Metadata[tp("a", 0)]; !slices.Equal(known.Offline, []int32{1}) {
			w.Errorf("broker 3 knows a-0 offline on %v, want [1]", known.Offline)
		}
		if err := w.alter(tp("a", 0), 2, 3, 1); !errors.Is(err, cluster.ErrIneligibleReplica) {
			w.Errorf("what has lost its disk comes into the ISR: %v", err)
		}
	})
}

// A broker that does not answer holds up nobody, is told again, and then the latest
// alone.
func TestSlowBroker(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{2, 1, 3})
		w.lead()
		answering := make(chan struct{})
		failures := 0
		w.fleet.Intercept(func(ctx context.Context, id int32, _ kmsg.Request, deliver func() (kmsg.Response, error)) (kmsg.Response, error) {
			if id != 1 {
				return deliver()
			}
			select {
			case <-answering:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if failures++; failures < 4 {
				return nil, errors.New("reset")
			}
			return deliver()
		})
		told := len(w.fleet.Node(1).Requests)
		for range 20 {
			w.tree.Unregister(3)
			synctest.Wait()
			w.register(3)
			synctest.Wait()
			if err := w.alter(tp("a", 0), 2, 1, 3); err != nil {
				w.Fatal(err)
			}
		}
		synctest.Wait()
		if known := w.fleet.Node(2).Metadata[tp("a", 0)]; known.State.LeaderEpoch != 20 {
			w.Errorf("broker 2 knows %+v, though only broker 1 is slow", known.State)
		}
		close(answering)
		time.Sleep(time.Minute)
		synctest.Wait()
		w.consistent()
		if told = len(w.fleet.Node(1).Requests) - told; told > 6 {
			w.Errorf("broker 1 was told %d things, of which the last few count", told)
		}
	})
}

// A broker that listens elsewhere without having been away is told there.
func TestBrokerMoves(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2})
		w.lead()
		w.fleet.Intercept(func(ctx context.Context, id int32, _ kmsg.Request, deliver func() (kmsg.Response, error)) (kmsg.Response, error) {
			if id != 1 {
				return deliver()
			}
			<-ctx.Done() // nobody is there any more
			return nil, ctx.Err()
		})
		w.tree.Unregister(2)
		synctest.Wait()
		w.fleet.Intercept(nil)
		w.tree.Relocate(1, "elsewhere")
		synctest.Wait()
		w.want(tp("a", 0), 1, 1, 1)
		w.consistent()
	})
}

// Another controller has been elected: this one's next write ends its term.
func TestFenced(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.create("a", []int32{1, 2})
		w.lead()
		old, ended := w.c, w.ended
		w.lead()
		w.register(1) // which both see, but for the old one's watch
		if _, err := old.ControlledShutdown(w.Context(), 2, -1); !errors.Is(err, cluster.ErrNotController) || !errors.Is(err, cluster.ErrFenced) {
			w.Errorf("the old controller says %v", err)
		}
		if err := <-ended; !errors.Is(err, cluster.ErrFenced) {
			w.Errorf("its term ended with %v", err)
		}
		if _, err := old.Reassignments(w.Context(), nil); !errors.Is(err, cluster.ErrNotController) || old.Active() {
			w.Errorf("asked after its term: %v, active %v", err, old.Active())
		}
		synctest.Wait()
		w.consistent()
	})
}

func TestProducerIDs(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		w.lead()
		for _, want := range []int64{0, 1000} {
			got, err := w.c.AllocateProducerIDs(w.Context(), 1, w.epochOf(1))
			if err != nil || got != (controller.ProducerIDs{First: want, Count: 1000}) {
				w.Errorf("%+v, %v; want 1000 from %d", got, err, want)
			}
		}
		if _, err := w.c.AllocateProducerIDs(w.Context(), 1, w.epochOf(1)-1); !errors.Is(err, cluster.ErrStaleBrokerEpoch) {
			w.Errorf("with an old broker epoch: %v", err)
		}
	})
}
