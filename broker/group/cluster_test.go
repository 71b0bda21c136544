package group

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A group goes with its partition: generation, members and offsets are at the new
// coordinator, its members go on there, and the old one sends them on.
func TestGroupMovesWithItsPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a", "b")
		a, b := h.by["a"], h.by["b"]
		h.move(0, "a", true)
		h.settled()
		id := a.member(t, "readers")
		want(t, "commit", a.commit("readers", id, 1, at(0, 5))[0], nil)
		req := request("")
		waiting := a.Join(&req)

		h.move(0, "b", true)
		want(t, "the one who waits to join", (<-waiting).Err, ErrNotHere)
		h.settled()
		if n := b.bytes.Load(); n == 0 {
			t.Error("what has been loaded is not counted")
		}
		hb := &HeartbeatRequest{Group: "readers", MemberID: id, Generation: 1}
		want(t, "heartbeat at the old one", a.Heartbeat(hb), ErrNotHere)
		want(t, "commit at the old one", a.commit("readers", id, 1, at(0, 6))[0], ErrNotHere)
		_, err := a.FetchAll("readers")
		want(t, "fetch at the old one", err, ErrNotHere)
		_, err = a.Describe("readers")
		want(t, "describe at the old one", err, ErrNotHere)
		want(t, "delete at the old one", <-a.Delete("readers"), ErrNotHere)
		if n := a.bytes.Load(); n != 0 {
			t.Errorf("%d bytes are left over at the old one", n)
		}

		want(t, "heartbeat at the new one", b.Heartbeat(hb), nil)
		if got, err := b.FetchAll("readers"); err != nil || !reflect.DeepEqual(got, []Offset{at(0, 5)}) {
			t.Errorf("offsets %+v, %v", got, err)
		}
		again := request(id)
		second := b.Join(&again)
		if got := <-second; got.Err != nil || got.MemberID != id || got.Generation != 2 {
			t.Errorf("joined again: %+v", got)
		}
		want(t, "sync", (<-b.Sync(&SyncRequest{Group: "readers", MemberID: id, Generation: 2})).Err, nil)
		want(t, "commit at the new one", b.commit("readers", id, 2, at(0, 7))[0], nil)

		h.move(0, "a", true)
		h.settled()
		hb.Generation = 2
		want(t, "heartbeat after it has come back", a.Heartbeat(hb), nil)
		if got, _ := a.FetchAll("readers"); !reflect.DeepEqual(got, []Offset{at(0, 7)}) {
			t.Errorf("offsets after it has come back: %+v", got)
		}

		h.move(0, "b", true)
		pass(session + time.Second)
		if got := b.state(t, "readers"); got != "Empty" {
			t.Errorf("the group whose member is silent since the move is %s", got)
		}
	})
}

// Those who wait for their part of an assignment that is being stored are sent on too.
func TestSyncWaitsAtAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a", "b")
		a, b := h.by["a"], h.by["b"]
		h.move(0, "a", true)
		h.settled()
		req := request("")
		id := (<-a.Join(&req)).MemberID
		h.set(func(r *region) { r.held = true })
		sync := &SyncRequest{Group: "readers", MemberID: id, Generation: 1, Assignments: map[string][]byte{id: []byte("all")}}
		waiting := a.Sync(sync)
		h.move(0, "b", true)
		want(t, "sync", (<-waiting).Err, ErrNotHere)
		h.catchUp()
		h.settled()
		if got := <-b.Sync(sync); got.Err != nil || string(got.Assignment) != "all" {
			t.Errorf("the new leader had fetched the assignment, and says %+v", got)
		}
	})
}

// The first who asks where a group is has the topic made; a group is where its
// partition is led, and nowhere else.
func TestLocate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(0), "a", "b")
		a, b := h.by["a"], h.by["b"]
		want(t, "commit before there is a topic", a.commit("one", "", -1, at(0, 1))[0], ErrNotHere)
		want(t, "ready before there is a topic", a.Ready("one"), ErrNotHere)
		if all, err := a.List(); len(all) != 0 || err != nil {
			t.Errorf("list before there is a topic: %v, %v", all, err)
		}
		index, err := b.Locate(t.Context(), "one")
		if want := PartitionFor("one", 5); err != nil || index != want {
			t.Errorf("located at %d, %v, want %d", index, err, want)
		}
		if want := "5 partitions on 3 brokers, asked by b"; h.created != want {
			t.Errorf("made with %s, want %s", h.created, want)
		}
		if again, _ := a.Locate(t.Context(), "one"); again != index {
			t.Errorf("another broker locates it at %d, want %d", again, index)
		}
		h.move(index, "a", true)
		h.settled()
		want(t, "ready at its leader", a.Ready("one"), nil)
		want(t, "ready elsewhere", b.Ready("one"), ErrNotHere)
		want(t, "commit", a.commit("one", "", -1, at(0, 1))[0], nil)
		alone := run(t, &memLog{})
		if index, err := alone.Locate(t.Context(), "one"); index != -1 || err != nil {
			t.Errorf("a broker without others says %d, %v, want -1", index, err)
		}
	})
}

// While the topic cannot be made, is not known yet, or is being made by another request,
// clients are told to ask again. Only the first is an error.
func TestLocateFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := &memLog{failAppend: errDisk}
		r := run(t, topic, func(c *Config) { c.Clustered = true })
		for range 3 {
			_, err := r.Locate(t.Context(), "one")
			want(t, "locate", err, ErrNotAvailable)
		}
		if n := strings.Count(r.logged.String(), "not created"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, r.logged)
		}
		r.creating.Lock()
		_, err := r.Locate(t.Context(), "one")
		want(t, "locate while another makes it", err, ErrNotAvailable)
		r.creating.Unlock()
		topic.failAppend, topic.unknown = nil, true
		_, err = r.Locate(t.Context(), "one")
		want(t, "locate before anyone knows the topic", err, ErrNotAvailable)
		if n := strings.Count(r.logged.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors are logged, want one:\n%s", n, r.logged)
		}
		topic.unknown = false
		_, err = r.Locate(t.Context(), "one")
		want(t, "locate", err, nil)
	})
}

// What an earlier epoch says comes too late; a later one of the same leader leaves
// its groups alone; a topic that is made anew begins anew.
func TestEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a")
		a := h.by["a"]
		h.elect(0, "a", true)
		a.Lead(0, 5)
		h.settled()
		id := a.member(t, "readers")
		a.Resign(0, 4)
		want(t, "after an order of before", a.Ready("readers"), nil)
		req := request("")
		waiting := a.Join(&req)
		a.Lead(0, 7)
		h.settled()
		select {
		case got := <-waiting:
			t.Errorf("another epoch of the same leader ended a join: %+v", got)
		default:
		}
		a.Resign(0, 6)
		want(t, "after an order of before the later epoch", a.Ready("readers"), nil)
		a.Resign(0, 8)
		want(t, "the one who waits", (<-waiting).Err, ErrNotHere)
		a.Lead(0, 7)
		h.settled()
		want(t, "led by an order of before", a.Ready("readers"), ErrNotHere)
		a.Lead(0, 9)
		h.settled()
		want(t, "heartbeat", a.Heartbeat(&HeartbeatRequest{Group: "readers", MemberID: id, Generation: 1}), nil)
		a.Resign(0, -1)
		want(t, "after the topic is gone", a.Ready("readers"), ErrNotHere)
		a.Lead(0, 0)
		h.settled()
		want(t, "when it is made anew", a.Ready("readers"), nil)
	})
}

// A leader that has been replaced and has not been told sends clients on, and does not
// take that for a fault.
func TestReplacedAndNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a", "b")
		a := h.by["a"]
		h.move(0, "a", true)
		h.settled()
		a.commit("one", "", -1, at(0, 5))
		h.elect(0, "b", true)
		want(t, "commit", a.commit("one", "", -1, at(0, 6))[0], ErrNotHere)
		if got := a.logged.String(); strings.Contains(got, "cannot be stored") {
			t.Errorf("logged:\n%s", got)
		}
	})
}

// A commit that is on its way when its group goes is answered once, at once; the new
// leader has it or has it not, as the log does.
func TestCommitAtAMove(t *testing.T) {
	for name, kept := range map[string]bool{"fetched by the new leader": true, "lost with the old one": false} {
		synctest.Test(t, func(t *testing.T) {
			h := runHubs(t, newRegion(1), "a", "b")
			a, b := h.by["a"], h.by["b"]
			h.move(0, "a", true)
			h.settled()
			want(t, "commit", a.commit("one", "", -1, at(0, 5))[0], nil)
			h.set(func(r *region) { r.held = true })
			answers := 0
			a.CommitThen(&CommitRequest{Group: "one", Generation: -1, Offsets: []Offset{at(0, 6)}}, func(errs []error) {
				answers++
				want(t, name, errs[0], ErrNotHere)
			})
			h.settled()
			if answers != 0 {
				t.Fatalf("%s: answered before the followers had it", name)
			}
			h.move(0, "b", kept)
			h.settled()
			if answers != 1 {
				t.Errorf("%s: %d answers, want 1", name, answers)
			}
			wanted := at(0, 5)
			if kept {
				wanted = at(0, 6)
				want(t, "before the new leader knows that all have it", b.Ready("one"), ErrLoading)
			}
			h.catchUp()
			h.settled()
			if got, err := b.FetchAll("one"); err != nil || !reflect.DeepEqual(got, []Offset{wanted}) {
				t.Errorf("%s: the new leader has %+v, %v, want %+v", name, got, err, wanted)
			}
		})
	}
}

// When a partition is given up, nothing of its groups is appended any more: what is
// being handed to the log has arrived there, and what waits behind it never will.
func TestNothingIsAppendedOnceGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a")
		a := h.by["a"]
		h.elect(0, "a", true)
		a.Lead(0, 1)
		h.settled()
		gate := make(chan struct{})
		h.set(func(r *region) { r.appending = gate })
		commit := func(offset int64) <-chan []error {
			answer := make(chan []error, 1)
			go func() { answer <- a.commit("one", "", -1, at(0, offset)) }()
			synctest.Wait()
			return answer
		}
		first, second := commit(5), commit(6)
		third := a.Delete("one")
		resigned := make(chan struct{})
		go func() { a.Resign(0, 2); close(resigned) }()
		synctest.Wait()
		want(t, "the one behind", (<-second)[0], ErrNotHere)
		want(t, "one who deletes", <-third, ErrNotHere)
		select {
		case <-resigned:
			t.Error("given up while an append is under way")
		default:
		}
		close(gate)
		<-resigned
		want(t, "the one that is under way", (<-first)[0], ErrNotHere)
		if got := h.logs[0].end(); got != 1 {
			t.Errorf("the log has %d records, want 1", got)
		}
		a.Lead(0, 3)
		h.settled()
		if got, _ := a.FetchAll("one"); !reflect.DeepEqual(got, []Offset{at(0, 5)}) {
			t.Errorf("loaded %+v, want what is in the log", got)
		}
	})
}

// A commit that the followers keep waiting is refused in time, and counts when they
// have it after all.
func TestCommitTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a")
		a := h.by["a"]
		h.move(0, "a", true)
		h.settled()
		a.commit("one", "", -1, at(0, 5))
		h.set(func(r *region) { r.held = true })
		start := time.Now()
		want(t, "commit", a.commit("one", "", -1, at(0, 6))[0], ErrNotAvailable)
		if waited := time.Since(start); waited != defaultStoreTimeout {
			t.Errorf("refused after %v, want %v", waited, defaultStoreTimeout)
		}
		if got, _ := a.FetchAll("one"); !reflect.DeepEqual(got, []Offset{at(0, 5)}) {
			t.Errorf("before the followers have it: %+v", got)
		}
		h.catchUp()
		if got, _ := a.FetchAll("one"); !reflect.DeepEqual(got, []Offset{at(0, 6)}) {
			t.Errorf("when the followers have it: %+v", got)
		}
	})
}

// Members whose assignment is kept waiting join again, and find their group.
func TestAssignmentTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a")
		a := h.by["a"]
		h.move(0, "a", true)
		h.settled()
		req := request("")
		id := (<-a.Join(&req)).MemberID
		h.set(func(r *region) { r.held = true })
		start := time.Now()
		got := <-a.Sync(&SyncRequest{Group: "readers", MemberID: id, Generation: 1})
		if want(t, "sync", got.Err, ErrNotAvailable); time.Since(start) != defaultStoreTimeout {
			t.Errorf("refused after %v, want %v", time.Since(start), defaultStoreTimeout)
		}
		h.set(func(r *region) { r.held = false })
		h.catchUp() // too late for generation 1
		again := request(id)
		if got := <-a.Join(&again); got.Err != nil || got.Generation != 2 {
			t.Errorf("joined again: %+v", got)
		}
		want(t, "sync", (<-a.Sync(&SyncRequest{Group: "readers", MemberID: id, Generation: 2})).Err, nil)
	})
}

// With too few replicas in sync, clients are told to try again; what was refused is
// not to be seen.
func TestNotEnoughReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a")
		a := h.by["a"]
		h.move(0, "a", true)
		h.settled()
		a.commit("one", "", -1, at(0, 5))
		h.set(func(r *region) { r.failAppend = errors.New("not enough replicas in sync") })
		want(t, "commit", a.commit("one", "", -1, at(0, 6))[0], ErrNotAvailable)
		if got, _ := a.FetchAll("one"); !reflect.DeepEqual(got, []Offset{at(0, 5)}) {
			t.Errorf("refused, and to be seen: %+v", got)
		}
	})
}

// Whatever moves where and when, an offset that was acknowledged or shown is never
// taken back: the leader shows it, or a later one that was sent.
func TestAcknowledgedOffsetsStay(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 6))
			names := []string{"a", "b", "c"}
			h := runHubs(t, newRegion(3), names...)
			for i := range int32(3) {
				h.move(i, names[i], true)
			}
			h.settled()
			acked, sent, shown := map[string]int64{}, map[string]int64{}, map[string]int64{}
			for range 300 {
				name := fmt.Sprint("group", rng.IntN(6))
				index := PartitionFor(name, 3)
				leader := h.by[h.logs[index].leader]
				switch rng.IntN(10) {
				case 0:
					h.move(index, names[rng.IntN(3)], rng.IntN(2) == 0)
				case 1:
					h.set(func(r *region) { r.held = true })
				case 2:
					h.set(func(r *region) { r.held = false })
					h.catchUp()
				case 3:
					h.settled()
					got, err := leader.FetchAll(name)
					if err != nil && !errors.Is(err, ErrLoading) {
						t.Fatalf("seed %d: %s at its leader: %v", seed, name, err)
					}
					if err == nil && (len(got) == 0 && acked[name] > 0 || len(got) == 1 && (got[0].Offset < acked[name] || got[0].Offset > sent[name])) {
						t.Fatalf("seed %d: %s has %+v, %d was acknowledged and %d sent", seed, name, got, acked[name], sent[name])
					}
					if len(got) == 1 && got[0].Offset < shown[name] {
						t.Fatalf("seed %d: %s goes back from %d to %d", seed, name, shown[name], got[0].Offset)
					}
					if len(got) == 1 {
						shown[name] = got[0].Offset
					}
				default:
					sent[name]++
					offset := sent[name]
					leader.CommitThen(&CommitRequest{Group: name, Generation: -1, Offsets: []Offset{at(0, offset)}}, func(errs []error) {
						if errs[0] == nil {
							acked[name] = max(acked[name], offset)
						}
					})
				}
			}
			h.set(func(r *region) { r.held = false })
			h.catchUp()
			h.settled()
			for name, offset := range acked {
				got, err := h.by[h.logs[PartitionFor(name, 3)].leader].FetchAll(name)
				if err != nil || len(got) != 1 || got[0].Offset < offset {
					t.Errorf("seed %d: in the end %s has %+v, %v; %d was acknowledged", seed, name, got, err, offset)
				}
			}
		})
	}
}
