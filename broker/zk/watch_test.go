package zk

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/go-zookeeper/zk"

	"github.com/headwater/headwater/broker/cluster"
)

// A node is written many times, while someone reads each time that the watch speaks,
// and others read it with watches of their own: all see the last value.
func testWatchStorm(t *testing.T, address string) {
	s, _ := begin(t, config(address))
	writer, _ := begin(t, config(address))
	const writes, readers = 300, 4
	if err := s.create(t.Context(), "/storm", []byte("0")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			w, changed := NewWatch()
			for {
				n, err := s.get(ctx, "/storm", w)
				if err != nil {
					t.Error(err)
					return
				}
				if string(n.data) == strconv.Itoa(writes) {
					return
				}
				select {
				case <-changed:
				case <-ctx.Done():
					t.Errorf("the last that was seen is %s of %d", n.data, writes)
					return
				}
			}
		})
	}
	for i := range writes {
		if _, err := writer.set(t.Context(), "/storm", []byte(strconv.Itoa(i+1)), anyVersion); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	if len(s.watches.nodes) > 1 {
		t.Errorf("%d nodes are watched, want one at most", len(s.watches.nodes))
	}
}

// A term tells what has changed of what was read, and each topic by its name.
func testChangesOfATerm(t *testing.T, address string) {
	s, term := elected(t, address)
	assigned := cluster.TopicAssignment{Partitions: map[int32]cluster.Assignment{0: {Replicas: []int32{1}}}}
	if err := s.CreateTopic(t.Context(), "t", assigned, nil, -1); err != nil {
		t.Fatal(err)
	}
	must[[]cluster.Registration](t)(term.Brokers(t.Context()))
	must[[]string](t)(term.Topics(t.Context()))
	must[cluster.TopicAssignment](t)(term.Topic(t.Context(), "t"))
	must[[]string](t)(term.Deletions(t.Context()))
	for _, step := range []struct {
		want cluster.Change
		do   func() error
	}{
		{cluster.Change{Kind: cluster.BrokersChanged}, func() error { _, err := s.Register(t.Context(), broker(7, 1)); return err }},
		{cluster.Change{Kind: cluster.TopicsChanged}, func() error { return s.CreateTopic(t.Context(), "u", assigned, nil, -1) }},
		{cluster.Change{Kind: cluster.TopicChanged, Topic: "t"}, func() error { _, err := s.AlterTopic(t.Context(), "t", assigned); return err }},
		{cluster.Change{Kind: cluster.DeletionsChanged}, func() error { return s.RequestDeletion(t.Context(), "t") }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, term.Changes(), "a change"); got != step.want {
			t.Errorf("change %+v, want %+v", got, step.want)
		}
	}
}

// A watch that was ended says nothing, and others of the same node still do.
func TestUnwatch(t *testing.T) {
	s := newTestSession()
	ended, silent := NewWatch()
	stays, told := NewWatch()
	for _, w := range []*Watch{ended, stays} {
		if armed, asked := s.watches.join(watchKey{"/x", false}, w); !armed {
			asked(true)
		}
	}
	s.Unwatch(ended)
	s.watches.fire(zk.EventNodeDataChanged, "/x")
	receive(t, told, "the other watch")
	select {
	case <-silent:
		t.Error("the ended watch has spoken")
	default:
	}
}

// What waits is said once, in order; what was handed out can be said again.
func TestChangesCoalesce(t *testing.T) {
	c := newChanges()
	brokers, topic := cluster.Change{Kind: cluster.BrokersChanged}, cluster.Change{Kind: cluster.TopicChanged, Topic: "t"}
	for range 3 {
		c.tell(brokers)
		c.tell(topic)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.run(ctx) })
	for _, want := range []cluster.Change{brokers, topic} {
		if got := receive(t, c.out, "a change"); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	c.tell(brokers)
	if got := receive(t, c.out, "a change"); got != brokers {
		t.Errorf("%+v, want %+v", got, brokers)
	}
	cancel()
	running.Wait()
	if change, ok := c.next(); ok {
		t.Errorf("%+v is left", change)
	}
}
