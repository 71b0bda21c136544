package zk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/go-zookeeper/zk"

	"github.com/headwater/headwater/broker/cluster"
)

// Term is one controller's time in office: what it reads, and writes that are done
// only while no other controller was elected. It ends with its session, by Resign, or
// by a write that is refused since there is another controller; after that nothing is
// written. It implements controller.Store.
type Term struct {
	s       *Session
	epoch   int32
	version int32 // of /controller_epoch since the election

	changes *changes
	stop    context.CancelFunc // of handing out changes
	fenced  atomic.Bool

	mu      sync.Mutex // guards watches
	watches map[cluster.Change]*Watch
}

func newTerm(s *Session, epoch, version int32) *Term {
	ctx, stop := context.WithCancel(s.ctx)
	t := &Term{s: s, epoch: epoch, version: version, changes: newChanges(), stop: stop, watches: map[cluster.Change]*Watch{}}
	s.spawn(func() { t.changes.run(ctx) })
	return t
}

// Epoch is the controller epoch of the term.
func (t *Term) Epoch() int32 { return t.epoch }

// Changes says what has changed of what was read. It is not closed at the end.
func (t *Term) Changes() <-chan cluster.Change { return t.changes.out }

// Resign ends the term, and lets another controller be elected.
func (t *Term) Resign(ctx context.Context) error {
	defer t.ended()
	err := t.write(ctx, "resign", func(ctx context.Context) (bool, error) {
		exists, err := t.s.exists(ctx, controllerPath, nil)
		return !exists, err
	}, &zk.DeleteRequest{Path: t.s.at(controllerPath), Version: anyVersion})
	if isNoNode(err) {
		return nil
	}
	return err
}

// ended has nothing written and nothing watched from now on.
func (t *Term) ended() {
	t.fenced.Store(true)
	t.stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.watches {
		t.s.Unwatch(w)
	}
	clear(t.watches)
}

// watch returns the watch that tells of a change.
func (t *Term) watch(change cluster.Change) *Watch {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.watches[change]
	if w == nil {
		w = NewWatchFunc(func() { t.changes.tell(change) })
		t.watches[change] = w
	}
	return w
}

// forget lets the watch of something go that is no more.
func (t *Term) forget(change cluster.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.watches[change]; w != nil {
		delete(t.watches, change)
		t.s.Unwatch(w)
	}
}

// write does the operations if no other controller was elected. landed looks whether
// they were done when the answer was lost.
func (t *Term) write(ctx context.Context, what string, landed func(context.Context) (bool, error), ops ...any) error {
	_, err := t.writeAnswered(ctx, what, func(ctx context.Context) ([]zk.MultiResponse, bool, error) {
		done, err := landed(ctx)
		return nil, done, err
	}, ops...)
	return err
}

// writeAnswered is write with the answers to the operations. Each looks for what it
// has written with the answers that it would have had; the one to the check of the
// epoch, which comes first, is not among them.
func (t *Term) writeAnswered(ctx context.Context, what string, landed func(context.Context) ([]zk.MultiResponse, bool, error), ops ...any) ([]zk.MultiResponse, error) {
	if t.fenced.Load() {
		return nil, fmt.Errorf("%s at controller epoch %d: %w", what, t.epoch, cluster.ErrFenced)
	}
	check := &zk.CheckVersionRequest{Path: t.s.at(controllerEpochPath), Version: t.version}
	answers, err := t.s.multi(ctx, what, append([]any{check}, ops...), func(ctx context.Context) ([]zk.MultiResponse, bool, error) {
		answers, done, err := landed(ctx)
		return append([]zk.MultiResponse{{}}, answers...), done, err
	})
	var op *opError
	switch {
	case err == nil:
		return answers[1:], nil
	case errors.As(err, &op) && op.index == 0 && (isBadVersion(err) || isNoNode(err)):
		t.ended()
		return nil, fmt.Errorf("%s at controller epoch %d: %w", what, t.epoch, cluster.ErrFenced)
	case op != nil:
		return nil, &opError{op.index - 1, op.err}
	}
	return nil, err
}

// remove removes a node, whatever its version. One that is not there is removed.
func (t *Term) remove(ctx context.Context, path string) error {
	err := t.write(ctx, "remove "+path, func(ctx context.Context) (bool, error) {
		exists, err := t.s.exists(ctx, path, nil)
		return !exists, err
	}, &zk.DeleteRequest{Path: t.s.at(path), Version: anyVersion})
	if isNoNode(err) {
		return nil
	}
	return err
}

// removeAll removes nodes below a directory, many at one time.
func (t *Term) removeAll(ctx context.Context, dir string, names []string) error {
	return each(ctx, len(names), func(ctx context.Context, i int) error { return t.remove(ctx, dir+"/"+names[i]) })
}

// create makes a node without data unless it is there.
func (t *Term) create(ctx context.Context, path string) error {
	err := t.write(ctx, "create "+path, func(ctx context.Context) (bool, error) { return t.s.exists(ctx, path, nil) },
		&zk.CreateRequest{Path: t.s.at(path), Acl: t.s.acl(path)})
	if isNodeExists(err) {
		return nil
	}
	return err
}

// set writes a node that has this version, and returns its new one.
func (t *Term) set(ctx context.Context, path string, data []byte, version int32) (int32, error) {
	answers, err := t.writeAnswered(ctx, "write "+path, func(ctx context.Context) ([]zk.MultiResponse, bool, error) {
		now, done, err := t.s.isNow(ctx, path, data, version)
		return []zk.MultiResponse{{Stat: &zk.Stat{Version: now}}}, done, err
	}, &zk.SetDataRequest{Path: t.s.at(path), Data: data, Version: version})
	if err != nil {
		return 0, err
	}
	if answers[0].Stat == nil {
		return 0, malformed(path, "no answer to setData")
	}
	return answers[0].Stat.Version, nil
}
