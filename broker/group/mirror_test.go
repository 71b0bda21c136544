package group

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// memNodes is a MirrorStore in memory.
type memNodes struct {
	mu       sync.Mutex // guards all below
	nodes    map[string]int64
	watchers map[string][]func()
	asked    []time.Time // when a request was made
	writes   []string
	fail     error
	landed   bool // what fails has happened
}

func newNodes() *memNodes {
	return &memNodes{nodes: map[string]int64{}, watchers: map[string][]func(){}}
}

func nodeOf(group, topic string, partition int32) string {
	return fmt.Sprintf("%s/%s/%d", group, topic, partition)
}

func (n *memNodes) SetOffset(_ context.Context, group, topic string, partition int32, offset int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, time.Now())
	if n.fail == nil {
		n.writes = append(n.writes, fmt.Sprint(nodeOf(group, topic, partition), "=", offset))
	}
	if n.fail == nil || n.landed {
		n.put(nodeOf(group, topic, partition), offset)
	}
	return n.fail
}

func (n *memNodes) WatchOffset(_ context.Context, group, topic string, partition int32, changed func()) (offset int64, found bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, time.Now())
	if n.fail != nil {
		return 0, false, n.fail
	}
	name := nodeOf(group, topic, partition)
	n.watchers[name] = append(n.watchers[name], changed)
	offset, found = n.nodes[name]
	return offset, found, nil
}

// put writes and tells, with the lock held.
func (n *memNodes) put(name string, offset int64) {
	n.nodes[name] = offset
	told := n.watchers[name]
	n.watchers[name] = nil
	for _, changed := range told {
		changed()
	}
}

// outside is someone else's write.
func (n *memNodes) outside(name string, offset int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.put(name, offset)
}

func (n *memNodes) set(f func(*memNodes)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *memNodes) at(name string) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if offset, ok := n.nodes[name]; ok {
		return offset
	}
	return -1
}

// mirroring is a Mirror at work, in a synctest bubble.
type mirroring struct {
	*Mirror
	told   []OutsideChange
	logged *bytes.Buffer
	stop   func()
}

func mirror(t *testing.T, groups *running, store MirrorStore, change func(*MirrorConfig)) *mirroring {
	t.Helper()
	cfg := DefaultMirrorConfig()
	cfg.Groups = []string{"plant*"}
	change(&cfg)
	m := &mirroring{logged: &bytes.Buffer{}}
	m.Mirror = NewMirror(cfg, groups.Coordinator, func(c OutsideChange) { m.told = append(m.told, c) }, slog.New(slog.NewTextHandler(m.logged, nil)), prometheus.NewRegistry())
	m.session(t, store)
	return m
}

// session runs m until stop.
func (m *mirroring) session(t *testing.T, store MirrorStore) {
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { m.Run(ctx, store) })
	m.stop = func() { cancel(); ended.Wait() }
	t.Cleanup(m.stop)
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Offsets of the groups that are asked for are copied, the last one of many, and only
// when they have changed; this broker's own writes are nobody else's.
func TestMirrorCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, nodes := run(t, &memLog{}), newNodes()
		m := mirror(t, r, nodes, func(*MirrorConfig) {})
		pass(time.Second)
		for offset := range int64(100) {
			r.commit("plant7", "", -1, at(0, offset), at(1, 7))
			r.commit("other", "", -1, at(0, offset))
			r.commit("plant/8", "", -1, at(0, offset))
		}
		pass(6 * time.Second)
		if want := map[string]int64{"plant7/press/0": 99, "plant7/press/1": 7}; !reflect.DeepEqual(nodes.nodes, want) {
			t.Errorf("copied %v, want %v", nodes.nodes, want)
		}
		if len(nodes.writes) != 2 {
			t.Errorf("written: %v, want each once", nodes.writes)
		}
		r.commit("plant7", "", -1, at(0, 120), at(1, 7), at(2, -5))
		pass(6 * time.Second)
		if len(nodes.writes) != 3 || nodes.at("plant7/press/0") != 120 {
			t.Errorf("written: %v, want one more", nodes.writes)
		}
		asked := len(nodes.asked)
		pass(time.Minute)
		if len(nodes.asked) != asked || len(m.told) != 0 {
			t.Errorf("%d requests while nothing changes, and told of %v", len(nodes.asked)-asked, m.told)
		}
	})
}

// However much changes, only so many requests are made in a second, and no more
// offsets are copied than may be.
func TestMirrorIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, nodes := run(t, &memLog{}), newNodes()
		m := mirror(t, r, nodes, func(c *MirrorConfig) { c.Rate, c.MaxOffsets = 10, 20 })
		for n := range int64(30) {
			for i := range int32(30) {
				r.commit("plant7", "", -1, at(i, n))
			}
			pass(time.Second)
		}
		pass(30 * time.Second)
		for i := 1; i < len(nodes.asked); i++ {
			if gap := nodes.asked[i].Sub(nodes.asked[i-1]); gap < 100*time.Millisecond {
				t.Fatalf("requests %d and %d are %v apart, want 10 a second at most", i-1, i, gap)
			}
		}
		if len(nodes.nodes) != 20 || len(m.copies) != 20 {
			t.Errorf("%d offsets are copied, want 20", len(nodes.nodes))
		}
		for name, offset := range nodes.nodes {
			if offset != 29 {
				t.Errorf("%s has %d in the end, want 29", name, offset)
			}
		}
		if n := strings.Count(m.logged.String(), "more committed offsets"); n != 1 {
			t.Errorf("logged %d times that some are left out, want once:\n%s", n, m.logged)
		}
		// When the group goes, there is room for another.
		<-r.Delete("plant7")
		pass(11 * time.Second)
		r.commit("plant8", "", -1, at(0, 3))
		pass(11 * time.Second)
		if nodes.at("plant8/press/0") != 3 {
			t.Errorf("no room for another group: %v", nodes.nodes)
		}
	})
}

// What someone else writes is told, and stays until the group commits again.
func TestMirrorTellsOfOutsideChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, nodes := run(t, &memLog{}), newNodes()
		m := mirror(t, r, nodes, func(*MirrorConfig) {})
		r.commit("plant7", "", -1, at(0, 5))
		pass(6 * time.Second)
		nodes.outside("plant7/press/0", 2)
		pass(time.Second)
		tp := TopicPartition{"press", 0}
		if want := []OutsideChange{{Group: "plant7", TopicPartition: tp, Was: 5, Is: 2}}; !reflect.DeepEqual(m.told, want) {
			t.Errorf("told %+v, want %+v", m.told, want)
		}
		if !strings.Contains(m.logged.String(), "changed by someone else") {
			t.Errorf("not logged:\n%s", m.logged)
		}
		pass(time.Minute)
		if got, _ := r.FetchAll("plant7"); got[0].Offset != 5 || nodes.at("plant7/press/0") != 2 {
			t.Errorf("the group has %d and the copy %d, want 5 and 2", got[0].Offset, nodes.at("plant7/press/0"))
		}
		nodes.outside("plant7/press/0", 5) // back, and that is a change too
		pass(time.Second)
		r.commit("plant7", "", -1, at(0, 6))
		pass(6 * time.Second)
		if len(m.told) != 2 || nodes.at("plant7/press/0") != 6 {
			t.Errorf("told %+v, and the copy has %d, want 6", m.told, nodes.at("plant7/press/0"))
		}
		nodes.set(func(n *memNodes) { n.put("plant7/press/0", 0); delete(n.nodes, "plant7/press/0") })
		pass(time.Second)
		if last := m.told[len(m.told)-1]; last.Was != 6 || last.Is != -1 {
			t.Errorf("told of a copy that was removed: %+v", last)
		}
	})
}

// Where that is wanted, an outside change becomes the offset of a group without
// members; one with members keeps its own.
func TestMirrorAdopts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, nodes := run(t, &memLog{}), newNodes()
		m := mirror(t, r, nodes, func(c *MirrorConfig) { c.Adopt = true })
		r.commit("plant7", "", -1, at(0, 5))
		id := r.member(t, "plant8")
		r.commit("plant8", id, 1, at(0, 5))
		pass(6 * time.Second)
		writes := len(nodes.writes)
		nodes.outside("plant7/press/0", 2)
		nodes.outside("plant8/press/0", 2)
		pass(time.Second)
		if len(m.told) != 2 || !m.told[0].Adopted || m.told[1].Adopted || !errors.Is(m.told[1].Err, ErrUnknownMember) {
			t.Errorf("told %+v", m.told)
		}
		for group, want := range map[string]int64{"plant7": 2, "plant8": 5} {
			if got, _ := r.FetchAll(group); got[0].Offset != want {
				t.Errorf("%s has %d, want %d", group, got[0].Offset, want)
			}
		}
		pass(6 * time.Second)
		if len(nodes.writes) != writes || len(m.told) != 2 {
			t.Errorf("after that: written %v, told %+v", nodes.writes[writes:], m.told)
		}
	})
}

// While ZooKeeper does not answer, it is asked now and then, and the log says so once;
// a write that had happened all the same is this broker's own.
func TestMirrorFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, nodes := run(t, &memLog{}), newNodes()
		m := mirror(t, r, nodes, func(*MirrorConfig) {})
		r.commit("plant7", "", -1, at(0, 5), at(1, 5))
		pass(6 * time.Second)
		nodes.set(func(n *memNodes) { n.fail, n.landed = errDisk, true })
		asked := len(nodes.asked)
		r.commit("plant7", "", -1, at(0, 6), at(1, 6))
		pass(time.Minute)
		if n := len(nodes.asked) - asked; n < 5 || n > 13 {
			t.Errorf("asked %d times in a minute without an answer", n)
		}
		nodes.set(func(n *memNodes) { n.fail = nil })
		r.commit("plant7", "", -1, at(0, 7), at(1, 7))
		pass(20 * time.Second)
		if nodes.at("plant7/press/0") != 7 || nodes.at("plant7/press/1") != 7 || len(m.told) != 0 {
			t.Errorf("copied %v, told of %+v", nodes.nodes, m.told)
		}
		for _, line := range []string{"cannot be copied", "can be copied"} {
			if n := strings.Count(m.logged.String(), line); n != 1 {
				t.Errorf("logged %q %d times, want once:\n%s", line, n, m.logged)
			}
		}
	})
}

// A change between two sessions, when nobody watched, is noticed by the later one.
func TestMirrorNoticesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, nodes := run(t, &memLog{}), newNodes()
		m := mirror(t, r, nodes, func(*MirrorConfig) {})
		r.commit("plant7", "", -1, at(0, 5), at(1, 5))
		pass(6 * time.Second)
		m.stop()
		nodes.set(func(n *memNodes) { n.watchers = map[string][]func(){} })
		nodes.outside("plant7/press/0", 2)
		m.session(t, nodes)
		pass(time.Second)
		if len(m.told) != 1 || m.told[0].Is != 2 {
			t.Errorf("told %+v", m.told)
		}
		nodes.outside("plant7/press/1", 3)
		pass(time.Second)
		if len(m.told) != 2 {
			t.Errorf("not watched in the later session: told %+v", m.told)
		}
	})
}

// by is a store that knows who writes to it.
type by struct {
	*memNodes
	broker string
	writes []string
}

func (b *by) SetOffset(ctx context.Context, group, topic string, partition int32, offset int64) error {
	b.set(func(*memNodes) { b.writes = append(b.writes, fmt.Sprint(nodeOf(group, topic, partition), "=", offset)) })
	return b.memNodes.SetOffset(ctx, group, topic, partition, offset)
}

func (b *by) wrote() (all []string) {
	b.set(func(*memNodes) { all = slices.Clone(b.writes) })
	return all
}

// Copies follow their group: the coordinator that had it leaves them alone, also those
// that it was about to write, and what the one before wrote is no outside change.
func TestMirrorFollowsTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, nodes := runHubs(t, newRegion(1), "a", "b"), newNodes()
		a, b := h.by["a"], h.by["b"]
		h.move(0, "a", true)
		h.settled()
		byA, byB := &by{nodes, "a", nil}, &by{nodes, "b", nil}
		ma := mirror(t, a, byA, func(c *MirrorConfig) { c.Rate = 1 })
		mb := mirror(t, b, byB, func(*MirrorConfig) {})
		for n := int64(10); n < 50; n += 10 {
			a.commit("plant7", "", -1, at(0, n), at(1, n), at(2, n))
			pass(20 * time.Second)
			before := len(byA.wrote())
			a.commit("plant7", "", -1, at(0, n+1), at(1, n+1), at(2, n+1))
			for len(byA.wrote()) == before {
				pass(100 * time.Millisecond)
			}
			h.move(0, "b", true) // a's mirror has two more to copy
			h.settled()
			before = len(byA.wrote())
			b.commit("plant7", "", -1, at(0, n+2))
			pass(20 * time.Second)
			got := fmt.Sprint(nodes.at("plant7/press/0"), nodes.at("plant7/press/1"), nodes.at("plant7/press/2"))
			if want := fmt.Sprint(n+2, n+1, n+1); got != want || len(byA.wrote()) != before {
				t.Errorf("the copies have %s, want %s; the old coordinator has written %v", got, want, byA.wrote()[before:])
			}
			h.move(0, "a", true)
			h.settled()
		}
		if len(ma.told)+len(mb.told) != 0 {
			t.Errorf("told of %+v and %+v", ma.told, mb.told)
		}
		pass(20 * time.Second)
		nodes.outside("plant7/press/0", 7)
		pass(2 * time.Second)
		if len(ma.told) != 1 || ma.told[0].Is != 7 || len(mb.told) != 0 {
			t.Errorf("told of %+v and %+v, want of 7, once, and by the coordinator", ma.told, mb.told)
		}
	})
}

// Which patterns can be read, and which ids are one node in ZooKeeper.
func TestMirrorNames(t *testing.T) {
	for pattern, ok := range map[string]bool{"plant*": true, "plant[1-3]?": true, "plant[": false} {
		if err := CheckPattern(pattern); (err == nil) != ok {
			t.Errorf("pattern %q: %v", pattern, err)
		}
	}
	for id, ok := range map[string]bool{
		"readers": true, "plant 7": true, "ü": true, "...": true, "": false, ".": false, "..": false, "a/b": false,
		"a\x00": false, "a\n": false, "\u0085": false, "\ue000": false, "\ufff5": false, "\xff": false,
	} {
		if got := NamesNode(id); got != ok {
			t.Errorf("%q is a node's name: %v, want %v", id, got, ok)
		}
	}
}
