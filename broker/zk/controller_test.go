package zk

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/cluster"
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

func TestController(t *testing.T) {
	if got, want := string(encodeController(7, time.UnixMilli(5))), `{"version":2,"brokerid":7,"timestamp":"5","kraftControllerEpoch":-1}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for text, want := range map[string]struct {
		id  int32
		err error
	}{
		`{"version":1,"brokerid":3,"timestamp":"1"}`:                             {3, nil},
		`{"version":2,"brokerid":3,"timestamp":"1","kraftControllerEpoch":-1}`:   {3, nil},
		`{"version":2,"brokerid":3000,"timestamp":"1","kraftControllerEpoch":5}`: {0, ErrMigrating},
		`{"version":1}`: {0, ErrMalformed},
		`3`:             {0, ErrMalformed},
	} {
		id, err := decodeController([]byte(text))
		if id != want.id {
			t.Errorf("%s: controller %d, want %d", text, id, want.id)
		}
		wantError(t, err, want.err)
	}
}

// Of many candidates one wins, at the next epoch; when it resigns all are told, and
// another can win.
func testElection(t *testing.T, address string) {
	const candidates = 4
	var sessions [candidates]*Session
	for i := range sessions {
		sessions[i], _ = begin(t, config(address))
	}
	w, changed := NewWatch()
	if _, ok, err := sessions[0].Controller(t.Context(), w); ok || err != nil {
		t.Fatalf("a controller before any election, %v", err)
	}
	for epoch := int32(1); epoch <= 3; epoch++ {
		var terms [candidates]*Term
		var all sync.WaitGroup
		for i, s := range sessions {
			all.Go(func() {
				term, _, err := s.Elect(t.Context(), int32(i))
				if err != nil {
					t.Error(err)
				}
				terms[i] = term
			})
		}
		all.Wait()
		winner := -1
		for i, term := range terms {
			if term == nil {
				continue
			}
			if winner >= 0 {
				t.Fatalf("%d and %d have won", winner, i)
			}
			winner = i
		}
		if winner < 0 {
			t.Fatal("nobody has won")
		}
		receive(t, changed, "the news of a controller")
		id, ok, err := sessions[0].Controller(t.Context(), w)
		if !ok || err != nil || id != int32(winner) {
			t.Errorf("controller %d, %v, %v; want %d", id, ok, err, winner)
		}
		if terms[winner].Epoch() != epoch {
			t.Errorf("epoch %d, want %d", terms[winner].Epoch(), epoch)
		}
		wantNode(t, sessions[0], controllerEpochPath, itoa(epoch))
		for range 2 { // made once, and then there
			if err := terms[winner].EnsureFeatures(t.Context()); err != nil {
				t.Error(err)
			}
			wantNode(t, sessions[0], featurePath, `{"version":1,"status":1,"features":{}}`)
		}
		if err := terms[winner].Resign(t.Context()); err != nil {
			t.Error(err)
		}
		receive(t, changed, "the news that there is none")
		if _, ok, err := sessions[0].Controller(t.Context(), w); ok || err != nil {
			t.Errorf("a controller after it has resigned, %v", err)
		}
	}
}

// A controller that was followed by another changes nothing, whatever it writes.
func testFence(t *testing.T, address string) {
	s, _ := begin(t, config(address))
	old, won, err := s.Elect(t.Context(), 1)
	if err != nil || !won {
		t.Fatal(won, err)
	}
	tp := cluster.TopicPartition{Topic: "t", Index: 0}
	assigned := cluster.TopicAssignment{Partitions: map[int32]cluster.Assignment{0: {Replicas: []int32{1, 2}}}}
	if err := s.CreateTopic(t.Context(), "t", assigned, nil, -1); err != nil {
		t.Fatal(err)
	}
	state := cluster.PartitionState{Leader: 1, ControllerEpoch: 1, ISR: []int32{1, 2}}
	if failed, err := old.CreateStates(t.Context(), map[cluster.TopicPartition]cluster.PartitionState{tp: state}); err != nil || len(failed) > 0 {
		t.Fatal(failed, err)
	}
	if err := s.remove(t.Context(), controllerPath, anyVersion); err != nil { // as its session's end would
		t.Fatal(err)
	}
	other, _ := begin(t, config(address))
	if _, won, err := other.Elect(t.Context(), 2); err != nil || !won {
		t.Fatal(won, err)
	}
	before := treeText(t, s, "/")
	fresh := cluster.TopicPartition{Topic: "t", Index: 1}
	for name, write := range map[string]func() error{
		"createStates": func() error {
			_, err := old.CreateStates(t.Context(), map[cluster.TopicPartition]cluster.PartitionState{fresh: state})
			return err
		},
		"setStates": func() error {
			_, _, err := old.SetStates(t.Context(), map[cluster.TopicPartition]cluster.PartitionState{tp: state})
			return err
		},
		"features":       func() error { return old.EnsureFeatures(t.Context()) },
		"setTopic":       func() error { _, err := old.SetTopic(t.Context(), "t", assigned); return err },
		"finishDeletion": func() error { return old.FinishDeletion(t.Context(), "t") },
		"reassignments": func() error {
			return old.SetWantedReassignments(t.Context(), map[cluster.TopicPartition][]int32{tp: {1}})
		},
		"nextProducerIDs": func() error { _, _, err := old.NextProducerIDs(t.Context(), 1); return err },
		"resign":          func() error { return old.Resign(t.Context()) },
	} {
		old.fenced.Store(false) // each is refused by ZooKeeper
		if err := write(); err == nil {
			t.Errorf("%s was done", name)
		} else {
			wantError(t, err, cluster.ErrFenced)
		}
		wantError(t, write(), cluster.ErrFenced)
	}
	if after := treeText(t, s, "/"); after != before {
		t.Errorf("the tree was\n%s, and is\n%s", before, after)
	}
}

// treeText is all nodes below a path, with versions.
func treeText(t *testing.T, s *Session, path string) string {
	t.Helper()
	names := must[[]string](t)(s.children(t.Context(), path, nil))
	text := ""
	for _, name := range sorted(names) {
		below := path + "/" + name
		if path == "/" {
			below = "/" + name
		}
		n := must[node](t)(s.get(t.Context(), below, nil))
		text += below + " " + itoa(n.version) + " " + string(n.data) + "\n" + treeText(t, s, below)
	}
	return text
}
