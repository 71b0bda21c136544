package zk

import (
	"sync"

	"github.com/go-zookeeper/zk"
)

// Watch says that something has changed that was read with it. Whoever reads again
// after it said so sees at least that change, and is told of the next. It also says
// so when the connection was away, since nobody knows what happened meanwhile; it may
// say so without a reason, and ends with its session.
type Watch struct {
	notify func() // must not block, nor read or watch anything
}

// NewWatch returns a watch, and the channel on which it speaks: what was not received
// yet is said once.
func NewWatch() (*Watch, <-chan struct{}) {
	changed := make(chan struct{}, 1)
	return &Watch{notify: func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}}, changed
}

// Unwatch ends a watch: what was read with it is not told any more.
func (s *Session) Unwatch(w *Watch) {
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	for _, n := range s.watches.nodes {
		delete(n.by, w)
	}
}

// NewWatchFunc returns a watch that calls notify, which must not block.
func NewWatchFunc(notify func()) *Watch { return &Watch{notify} }

// watches is what a session watches. ZooKeeper tells of a change once; the library
// keeps a channel for each read that asked, also when it was asked for before. So a
// node is asked about only when nothing is armed for it.
type watches struct {
	mu    sync.Mutex // guards armed and what is in it
	nodes map[watchKey]*watched
}

// watchKey is a node's data, which includes whether it exists, or its children.
type watchKey struct {
	path     string
	children bool
}

type watched struct {
	armed  bool // ZooKeeper will tell
	asking int  // reads on their way that arm it
	by     map[*Watch]struct{}
}

// join has w told of the next change. The caller arms the node if nobody has, and
// says by the second result how it went.
func (ws *watches) join(key watchKey, w *Watch) (armed bool, asked func(armed bool)) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	n := ws.nodes[key]
	if n == nil {
		if ws.nodes == nil {
			ws.nodes = map[watchKey]*watched{}
		}
		n = &watched{by: map[*Watch]struct{}{}}
		ws.nodes[key] = n
	}
	n.by[w] = struct{}{}
	if n.armed {
		return true, func(bool) {}
	}
	n.asking++
	return false, func(armed bool) { ws.asked(key, n, armed) }
}

func (ws *watches) asked(key watchKey, n *watched, armed bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	n.asking--
	n.armed = n.armed || armed
	if !n.armed && n.asking == 0 && ws.nodes[key] == n {
		delete(ws.nodes, key) // there is nothing to watch
	}
}

// fire tells of an event.
func (ws *watches) fire(kind zk.EventType, path string) {
	switch kind {
	case zk.EventNodeCreated, zk.EventNodeDataChanged:
		ws.tell(watchKey{path, false})
	case zk.EventNodeChildrenChanged:
		ws.tell(watchKey{path, true})
	case zk.EventNodeDeleted:
		ws.tell(watchKey{path, false})
		ws.tell(watchKey{path, true})
	}
}

// tell tells those who watch the node, and forgets it: it is armed no longer.
func (ws *watches) tell(key watchKey) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	n := ws.nodes[key]
	delete(ws.nodes, key)
	if n == nil {
		return
	}
	for w := range n.by {
		w.notify()
	}
}

// any reports whether something is watched.
func (ws *watches) any() bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.nodes) > 0
}

// tellAll tells everyone; what is armed stays so.
func (ws *watches) tellAll() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	told := map[*Watch]struct{}{}
	for _, n := range ws.nodes {
		for w := range n.by {
			if _, ok := told[w]; !ok {
				told[w] = struct{}{}
				w.notify()
			}
		}
	}
}
