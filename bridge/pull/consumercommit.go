package pull

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// claim marks that a consumer's commit is on its way.
func (t *consumers) claim(c *consumer) {
	c.committing = true
	t.commits++
}

// commit commits where a consumer that was claimed is.
func (t *consumers) commit(c *consumer) {
	t.honour(c)
	t.mu.Lock()
	offset, metadata, err := encodeCommit(&c.config, c.created, c.progress, t.cfg.MetadataBytes)
	c.dirty = false
	acked, told := c.acked, c.told
	c.acked, c.told = nil, nil
	gone := c.gone
	t.mu.Unlock()
	done := func(err error) { t.commitEnded(c, offset, acked, told, err) }
	switch {
	case gone:
		done(errNoConsumer)
	case err != nil:
		done(err)
	default:
		t.positions.CommitPosition(c.name, c.stream.topic, c.stream.partition, offset, metadata, done)
	}
}

// commitEnded tells those who wait for a commit. One that failed is tried again.
func (t *consumers) commitEnded(c *consumer, offset int64, acked []string, told []chan error, err error) {
	t.mu.Lock()
	now := t.now()
	for _, ch := range told {
		ch <- err // they have room
	}
	for _, ch := range c.leaving {
		ch <- nil
	}
	c.leaving = nil
	c.committing = false
	c.commits++
	t.commits--
	first := false
	switch {
	case c.gone:
	case err != nil:
		first, c.uncommitted = !c.uncommitted, true
		t.changed(c, now+t.cfg.CommitInterval)
		t.counts.commitsFailed.Inc()
	default:
		c.uncommitted = false
		c.committed = offset
		c.refreshAt = now + t.cfg.RefreshPositions
		for _, reply := range acked {
			c.say(saying{to: reply, aside: true})
		}
		if len(acked) > 0 {
			t.rouse(c)
		}
	}
	t.settle(c)
	t.mu.Unlock()
	select {
	case t.ended <- struct{}{}:
	default:
	}
	if first {
		t.log.Warn("consumer's position not committed; trying again", "stream", c.stream.name, "consumer", c.name, "err", err)
	}
}

// honour goes on where a Kafka tool has put the consumer's committed offset.
func (t *consumers) honour(c *consumer) {
	t.mu.Lock()
	commits := c.commits
	t.mu.Unlock()
	at, there := int64(0), false
	err := t.positions.Positions(c.name, func(topic string, partition int32, offset int64, _ string) {
		if topic == c.stream.topic && partition == c.stream.partition {
			at, there = offset, true
		}
	})
	if err != nil || !there {
		return // the next commit says where we are
	}
	t.mu.Lock()
	moved := !c.gone && c.commits == commits && at != c.committed
	if moved {
		c.progress.restart(at)
		c.committed = at
		t.changed(c, t.now())
		t.rouse(c)
		t.settle(c)
	}
	t.mu.Unlock()
	if moved {
		t.log.Info("consumer goes on elsewhere: its committed offset was changed", "stream", c.stream.name, "consumer", c.name, "offset", at)
	}
}

// forget drops a deleted consumer's position.
func (t *consumers) forget(c *consumer, done func(error)) {
	t.positions.ForgetPosition(c.name, c.stream.topic, c.stream.partition, func(err error) {
		if err != nil {
			t.log.Warn("deleted consumer's position not dropped", "stream", c.stream.name, "consumer", c.name, "err", err)
		}
		done(err)
	})
}

// load takes up the durable consumers of earlier lives. It returns false while that
// is not possible yet.
func (t *consumers) load() bool {
	var groups []string
	err := error(nil)
	if t.cfg.NoDurable == "" { // else nobody is waited for
		err = t.positions.EachGroup(func(group string) bool {
			groups = append(groups, group)
			return true
		})
	}
	if err != nil {
		t.log.Debug("consumers not loaded yet", "err", err)
		return false
	}
	for _, group := range groups {
		var found []*consumer
		err := t.positions.Positions(group, func(topic string, partition int32, offset int64, metadata string) {
			c, err := t.revive(group, topic, partition, offset, metadata)
			if err != nil {
				t.log.Warn("consumer not loaded", "topic", topic, "partition", partition, "consumer", group, "err", err)
			}
			if c != nil {
				found = append(found, c)
			}
		})
		if err != nil {
			t.log.Debug("consumers not loaded yet", "err", err)
			return false
		}
		for _, c := range found {
			t.takeUp(c)
		}
	}
	t.mu.Lock()
	early := t.early
	t.early, t.loaded = nil, true
	t.mu.Unlock()
	for _, c := range early {
		c.route.handle(t.Service, c)
	}
	return true
}

// revive makes a consumer of a commit; nil where the commit is not one's.
func (t *consumers) revive(group, topic string, partition int32, offset int64, metadata string) (*consumer, error) {
	if !strings.HasPrefix(metadata, commitMark) {
		return nil, nil
	}
	state, _, err := decodeCommit(metadata)
	if err != nil {
		return nil, err
	}
	state.Config.complete(t.limits())
	if err := state.Config.validate(t.limits()); err != nil {
		return nil, err
	}
	if state.Config.Durable != group {
		return nil, fmt.Errorf("it says that it is %.60q's", state.Config.Durable)
	}
	progress, err := state.progress(offset, state.Config.MaxAckPending, t.now())
	if err != nil {
		return nil, err
	}
	return &consumer{
		stream:    stream{streamName(topic, partition), topic, partition},
		name:      group,
		config:    state.Config,
		filters:   state.Config.filters(),
		created:   time.UnixMilli(state.Created).UTC(),
		progress:  progress,
		committed: offset,
		refreshAt: t.now(), // for its offset may be about to expire
	}, nil
}

// takeUp adds a consumer that was loaded. Loading may begin anew: those that are
// there stay.
func (t *consumers) takeUp(c *consumer) {
	t.mu.Lock()
	there := t.find([]byte(c.stream.name), []byte(c.name)) != nil
	full := t.count >= t.cfg.Consumers
	if !there && !full {
		t.add(c)
	}
	t.mu.Unlock()
	if full && !there {
		t.log.Warn("consumer not loaded: there are too many", "stream", c.stream.name, "consumer", c.name, "limit", t.cfg.Consumers)
	}
}

// finish ends what waits and commits what is left, once nobody is served any more.
func (t *consumers) finish() {
	var all []*consumer
	var says []saying
	t.mu.Lock()
	for _, of := range t.streams {
		if of.stop != nil {
			of.stop()
			of.stop = nil
		}
		for _, c := range of.byName {
			c.pulls.endAll(409, "Server Shutdown", c.say)
			says = append(says, c.sayAll()...)
			all = append(all, c)
		}
	}
	t.mu.Unlock()
	t.tell(says)

	timeout := time.NewTimer(t.cfg.StopTimeout)
	defer timeout.Stop()
	inTime := t.awaitCommits(timeout)
	for _, c := range all {
		t.mu.Lock()
		due := inTime && c.config.durable() && !c.committing
		if due {
			t.claim(c)
		}
		t.mu.Unlock()
		if due {
			t.commit(c)
		}
	}
	if !t.awaitCommits(timeout) {
		t.log.Warn("consumers' positions not all committed: some of what was acknowledged comes again", "after", t.cfg.StopTimeout)
	}
	says = nil
	t.mu.Lock()
	for _, c := range all { // double acknowledgements that the last commit was for
		says = append(says, c.sayAll()...)
	}
	t.mu.Unlock()
	t.tell(says)
}

// awaitCommits waits until no commit is on its way; false when the time is over.
func (t *consumers) awaitCommits(timeout *time.Timer) bool {
	for {
		t.mu.Lock()
		n := t.commits
		t.mu.Unlock()
		if n == 0 {
			return true
		}
		select {
		case <-t.ended:
		case <-timeout.C:
			return false
		}
	}
}

// errGroupTaken says that a durable consumer cannot have a name.
var errGroupTaken = errors.New("the name is that of a Kafka consumer group")

// checkGroup refuses the name of a group that Kafka consumers commit offsets for.
func (t *consumers) checkGroup(name string) error {
	var err error
	failed := t.positions.Positions(name, func(topic string, partition int32, offset int64, metadata string) {
		if !strings.HasPrefix(metadata, commitMark) {
			err = fmt.Errorf("%w, which has committed offset %d of partition %d of %s: choose another, or delete that group", errGroupTaken, offset, partition, topic)
		}
	})
	return errors.Join(failed, err)
}
