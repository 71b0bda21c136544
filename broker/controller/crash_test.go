package controller_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/controller/controllertest"
)

// crashes runs a scenario with a controller that crashes at each of its writes in
// turn, before the write and after it, until the scenario needs no more writes.
// Another controller takes over; after does what the first was asked once more, and
// checks what came of it.
func crashes(t *testing.T, prepare, during, after func(*world)) {
	for _, lost := range []bool{false, true} {
		for write := 0; ; write++ {
			crashed := false
			name := fmt.Sprintf("write %d, lost answer %v", write, lost)
			inWorld(t, []int32{1, 2, 3, 4}, func(w *world) {
				prepare(w)
				w.elect(func(term *controllertest.Term) {
					term.CrashAt(write, lost, func() { crashed = true; w.cancel() })
				})
				synctest.Wait()
				during(w)
				synctest.Wait()
				w.resign()
				w.lead()
				after(w)
				synctest.Wait()
				w.consistent()
				if left := w.tree.Left(); left != 0 {
					w.Errorf("%d requests stand in the tree", left)
				}
				if w.Failed() {
					w.Fatalf("the crash was at %s", name)
				}
			})
			if t.Failed() {
				return
			}
			if !crashed {
				if write < 3 {
					t.Errorf("the scenario takes %d writes, which is too few to be the one that is meant", write)
				}
				break
			}
		}
	}
}

// Wherever a controller crashes while it takes over, makes topics begin and
// replaces a broker, the next one ends with the same leaders.
func TestCrashInElections(t *testing.T) {
	crashes(
		t,
		func(w *world) {
			w.create("a", []int32{1, 2, 3}, []int32{2, 3, 1}, []int32{3, 1, 2})
		},
		func(w *world) {
			w.create("b", []int32{1, 2}, []int32{2, 1})
			synctest.Wait()
			w.tree.Unregister(1)
			synctest.Wait()
			w.tree.AddPartitions("b", []int32{3, 2})
			synctest.Wait()
		},
		func(w *world) {
			for of, leader := range map[cluster.TopicPartition]int32{
				tp("a", 0): 2, tp("a", 1): 2, tp("a", 2): 3, tp("b", 0): 2, tp("b", 1): 2, tp("b", 2): 3,
			} {
				if s, _ := w.tree.State(of); s.Leader != leader {
					w.Errorf("%s has leader %d, want %d", of, s.Leader, leader)
				}
			}
		},
	)
}

func TestCrashInDeletion(t *testing.T) {
	crashes(
		t,
		func(w *world) {
			w.create("a", []int32{1, 2, 3}, []int32{2, 3})
			w.create("b", []int32{3, 1})
		},
		func(w *world) {
			w.tree.DeleteTopic("a")
			w.tree.DeleteTopic("none")
		},
		func(w *world) { wantGone(w, "a") },
	)
}

// A store that fails for a moment, wherever, ends no term.
func TestStoreFails(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for write := range 30 {
			inWorld(t, []int32{1, 2, 3, 4}, func(w *world) {
				w.create("a", []int32{1, 2, 3}, []int32{2, 3, 1})
				w.create("b", []int32{3, 1})
				w.elect(func(term *controllertest.Term) { term.FailAt(write, lost) })
				synctest.Wait()
				w.tree.Unregister(1)
				synctest.Wait()
				w.tree.WantMoves(moves{tp("a", 0): {3, 4}})
				synctest.Wait()
				w.tree.DeleteTopic("b")
				w.register(1)
				for range 2 { // the failure may be while they catch up
					time.Sleep(time.Minute)
					w.catchUp()
				}
				wantGone(w, "b")
				w.wantOn(tp("a", 0), []int32{3, 4}, nil, nil)
				w.consistent()
				if !w.c.Active() {
					w.Errorf("a failure at write %d ended the term", write)
				}
			})
		}
	}
}

// A partition that moves arrives wherever controllers crash, and those that it
// leaves have no log of it then.
func TestCrashInMove(t *testing.T) {
	moves := moves{tp("a", 0): {3, 4}, tp("a", 1): {4, 3, 2}, tp("a", 2): {2}}
	prepare := func(w *world) { w.create("a", []int32{1, 2}, []int32{2, 1}, []int32{1, 2}) }
	arrived := func(w *world) {
		w.catchUp()
		t, _ := w.tree.Topic("a")
		for of, to := range moves {
			if a := t.Partitions[of.Index]; !slices.Equal(a.Replicas, to) || len(a.Adding)+len(a.Removing) > 0 {
				w.Errorf("%s is on %+v, want %v", of, a, to)
			}
			if s, _ := w.tree.State(of); !slices.Contains(to, s.Leader) {
				w.Errorf("%s is led by %d", of, s.Leader)
			}
			for id := range int32(5) {
				if _, has := w.fleet.Node(id).Replicas[of]; has != slices.Contains(to, id) {
					w.Errorf("broker %d has a log of %s: %v", id, of, has)
				}
			}
		}
	}
	t.Run("byRequest", func(t *testing.T) {
		crashes(
			t, prepare,
			func(w *world) {
				_, _ = w.c.Reassign(w.Context(), moves)
				synctest.Wait()
				w.catchUp()
			},
			func(w *world) {
				if _, err := w.c.Reassign(w.Context(), moves); err != nil {
					w.Error(err)
				}
				arrived(w)
			},
		)
	})
	t.Run("byNode", func(t *testing.T) {
		crashes(
			t, prepare,
			func(w *world) {
				w.tree.WantMoves(moves)
				synctest.Wait()
				w.catchUp()
			},
			arrived,
		)
	})
}

// A move that is called off leaves the partition where it was, whatever has
// happened of it.
func TestCrashInCallingOff(t *testing.T) {
	crashes(
		t,
		func(w *world) { w.create("a", []int32{1, 2}) },
		func(w *world) {
			_, _ = w.c.Reassign(w.Context(), map[cluster.TopicPartition][]int32{tp("a", 0): {3, 4}})
			synctest.Wait()
			s, _ := w.tree.State(tp("a", 0))
			_ = w.alterAt(tp("a", 0), s, 1, 2, 3)
			_, _ = w.c.Reassign(w.Context(), map[cluster.TopicPartition][]int32{tp("a", 0): nil})
		},
		func(w *world) {
			if _, err := w.c.Reassign(w.Context(), map[cluster.TopicPartition][]int32{tp("a", 0): nil}); err != nil {
				w.Error(err)
			}
			synctest.Wait()
			w.catchUp()
			a, _ := w.tree.Topic("a")
			if got := a.Partitions[0]; !slices.Equal(got.Replicas, []int32{1, 2}) || len(got.Adding)+len(got.Removing) > 0 {
				w.Errorf("a-0 is on %+v, want it back on 1 and 2", got)
			}
		},
	)
}
