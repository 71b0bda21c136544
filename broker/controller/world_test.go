package controller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/controller/controllertest"
	"github.com/headwater/headwater/broker/topic"
)

// world is a cluster in a bubble: a tree, brokers, and one controller at a time.
type world struct {
	*testing.T
	tree   *controllertest.Tree
	fleet  *controllertest.Fleet
	cfg    controller.Config
	c      *controller.Controller
	term   *controllertest.Term
	cancel context.CancelFunc
	ended  chan error
	text   strings.Builder
	log    *slog.Logger // of all controllers, into text
}

// inWorld runs a test with live brokers, and a controller if it says so.
func inWorld(t *testing.T, brokers []int32, test func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, tree: controllertest.NewTree(), fleet: controllertest.NewFleet(), cfg: controller.DefaultConfig()}
		w.log = slog.New(slog.NewTextHandler(&w.text, &slog.HandlerOptions{Level: slog.LevelDebug}))
		for _, id := range brokers {
			w.register(id)
		}
		test(w)
		w.resign()
		for _, fault := range append(w.fleet.Faults(), w.tree.Faults()...) {
			t.Error(fault)
		}
		if t.Failed() {
			t.Log(w.text.String())
		}
	})
}

// elect begins a controller's term, without waiting for it to have taken over. arm
// says beforehand how its store fails.
func (w *world) elect(arm ...func(*controllertest.Term)) {
	ctx, cancel := context.WithCancel(w.Context())
	w.cancel, w.ended = cancel, make(chan error, 1)
	dial := func(r cluster.Registration) controller.Caller { return w.fleet.Dial(r) }
	w.c = controller.New(w.cfg, dial, w.log)
	term, epoch := w.tree.Elect()
	w.term = term
	for _, f := range arm {
		f(term)
	}
	c, ended := w.c, w.ended
	go func() { ended <- c.Run(ctx, epoch, term) }()
}

// lead is elect, and the controller has done all that there is to do.
func (w *world) lead() {
	w.elect()
	synctest.Wait()
}

// resign ends the term.
func (w *world) resign() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	if err := <-w.ended; err != nil && !errors.Is(err, cluster.ErrFenced) {
		w.Errorf("the term ended with %v", err)
	}
	w.cancel = nil
}

// register has a broker come, or come back.
func (w *world) register(id int32) cluster.Registration {
	w.fleet.Restart(id, w.tree.NextEpoch())
	return w.tree.Register(id, "")
}

func tp(name string, index int32) cluster.TopicPartition {
	return cluster.TopicPartition{Topic: name, Index: index}
}

func (w *world) create(name string, replicas ...[]int32) {
	w.tree.CreateTopic(name, topic.NewID(), replicas...)
}

// want checks a partition's state.
func (w *world) want(of cluster.TopicPartition, leader, leaderEpoch int32, isr ...int32) {
	w.Helper()
	s, ok := w.tree.State(of)
	if !ok || s.Leader != leader || s.LeaderEpoch != leaderEpoch || !slices.Equal(s.ISR, isr) {
		w.Errorf("%s: %+v, exists %v; want leader %d, leader epoch %d, ISR %v", of, s, ok, leader, leaderEpoch, isr)
	}
}

// alter has the leader of a partition ask for an ISR.
func (w *world) alter(of cluster.TopicPartition, isr ...int32) error {
	s, _ := w.tree.State(of)
	return w.alterAt(of, s, isr...)
}

// alterAt is alter of a leader that believes s.
func (w *world) alterAt(of cluster.TopicPartition, s cluster.PartitionState, isr ...int32) error {
	change := controller.ISRChange{Topic: of.Topic, Index: of.Index, LeaderEpoch: s.LeaderEpoch, PartitionEpoch: s.PartitionEpoch}
	for _, id := range isr {
		change.ISR = append(change.ISR, controller.ISRMember{ID: id, Epoch: -1})
	}
	answers, err := w.c.AlterPartition(w.Context(), s.Leader, w.epochOf(s.Leader), []controller.ISRChange{change})
	if err != nil {
		return err
	}
	return answers[0].Err
}

func (w *world) epochOf(id int32) int64 {
	for _, r := range w.tree.Registered() {
		if r.ID == id {
			return r.Epoch
		}
	}
	return -2
}

// catchUp has each leader take every live replica into the ISR, until no move is
// left to end.
func (w *world) catchUp() {
	w.Helper()
	for range 3 {
		for name, t := range w.tree.Topics() {
			for index, a := range t.Partitions {
				s, ok := w.tree.State(tp(name, index))
				if !ok || s.Leader < 0 {
					continue
				}
				isr := slices.Clone(s.ISR)
				for _, id := range a.Replicas {
					if w.epochOf(id) > 0 && !slices.Contains(isr, id) {
						isr = append(isr, id)
					}
				}
				if len(isr) > len(s.ISR) {
					_ = w.alterAt(tp(name, index), s, isr...) // a refusal shows in what comes of it
				}
			}
		}
		synctest.Wait()
	}
}

// consistent checks what must hold once there is nothing left to do: everything has
// a leader that can have one, and every live broker knows it and does its part.
func (w *world) consistent() {
	w.Helper()
	states := w.tree.States()
	for name, t := range w.tree.Topics() {
		if t.ID == (topic.ID{}) {
			w.Errorf("topic %s has no id", name)
		}
		for index, a := range t.Partitions {
			s, ok := states[tp(name, index)]
			if err := w.sound(a, s, ok); err != nil {
				w.Errorf("%s on %v, %+v: %v", tp(name, index), a, s, err)
			}
		}
	}
	for _, r := range w.tree.Registered() {
		if err := w.knows(r.ID, states); err != nil {
			w.Errorf("broker %d: %v", r.ID, err)
		}
	}
}

func (w *world) live(id int32) bool { return w.epochOf(id) > 0 }

// sound says what is wrong with a partition's state.
func (w *world) sound(a cluster.Assignment, s cluster.PartitionState, exists bool) error {
	switch {
	case !exists && slices.ContainsFunc(a.Replicas, w.live):
		return errors.New("it has no state")
	case !exists:
		return nil
	case len(s.ISR) == 0:
		return errors.New("its ISR is empty")
	case s.Leader >= 0 && (!w.live(s.Leader) || !slices.Contains(s.ISR, s.Leader)):
		return errors.New("its leader cannot lead")
	case s.Leader < 0 && slices.ContainsFunc(s.ISR, w.live):
		return errors.New("it could have a leader")
	case s.Leader >= 0 && slices.ContainsFunc(s.ISR, func(id int32) bool { return !w.live(id) }):
		return errors.New("a broker that is gone is in its ISR")
	}
	for _, id := range s.ISR {
		if !slices.Contains(a.Replicas, id) {
			return fmt.Errorf("broker %d in its ISR has no replica", id)
		}
	}
	return nil
}

// knows says what a live broker does not know, or not do.
func (w *world) knows(id int32, states map[cluster.TopicPartition]cluster.PartitionState) error {
	n := w.fleet.Node(id)
	var live []int32
	for _, r := range w.tree.Registered() {
		live = append(live, r.ID)
	}
	if !slices.Equal(n.Live, live) {
		return fmt.Errorf("it takes %v to be alive, who are %v", n.Live, live)
	}
	for of, s := range states {
		topicOf, _ := w.tree.Topic(of.Topic)
		known := n.Metadata[of]
		if known.State.Leader != s.Leader || known.State.LeaderEpoch != s.LeaderEpoch ||
			known.State.PartitionEpoch != s.PartitionEpoch || !slices.Equal(known.State.ISR, s.ISR) {
			return fmt.Errorf("it knows %s as %+v, which is %+v", of, known.State, s)
		}
		if a := topicOf.Partitions[of.Index]; !slices.Equal(known.Replicas, a.Replicas) || known.TopicID != topicOf.ID {
			return fmt.Errorf("it knows %s on %v, which is on %v", of, known.Replicas, a.Replicas)
		}
		for _, r := range known.Replicas {
			if slices.Contains(known.Offline, r) == w.live(r) {
				return fmt.Errorf("it knows %s offline on %v", of, known.Offline)
			}
		}
		has, ok := n.Replicas[of]
		switch assigned := slices.Contains(topicOf.Partitions[of.Index].Replicas, id); {
		case assigned && (!ok || has.Stopped || has.State.Leader != s.Leader || has.State.LeaderEpoch != s.LeaderEpoch):
			return fmt.Errorf("it has %s as %+v, which is %+v", of, has, s)
		case !assigned && ok && !has.Stopped:
			return fmt.Errorf("it has %s, which is elsewhere", of)
		}
	}
	for of := range n.Metadata {
		if _, ok := states[of]; !ok {
			return fmt.Errorf("it knows %s, which is deleted", of)
		}
	}
	return nil
}
