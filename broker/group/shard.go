package group

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// shard is a partition of the topic, from when this broker begins to lead it until
// it does not any more.
type shard struct {
	index     int32
	appending sync.WaitGroup // flushes that are handing records to the log

	// guarded by the coordinator's lock
	leaderEpoch int32
	status      shardStatus
	err         error              // why it could not be loaded
	failing     bool               // the last append failed, and that was logged
	cancel      context.CancelFunc // of the load that is under way: Resign gives it up
}

type shardStatus int8

const (
	loading shardStatus = iota
	serving
	failed // its log cannot be read, for now
	away   // another broker leads it
)

func (s *shard) name() string { return fmt.Sprintf("%s-%d", Topic, s.index) }

// Lead has the groups of a partition loaded, and then served, since this broker
// leads it now. It returns at once; Run loads. A partition that is led on in a later
// epoch keeps its groups as they are: nobody else has written to it meanwhile, or it
// would have been resigned. What an earlier epoch says comes too late.
func (c *Coordinator) Lead(index, leaderEpoch int32) {
	if s := c.lead(index, leaderEpoch); s != nil {
		c.topic.Settle(index, func(err error) { c.settled(s, err) })
	}
}

// lead returns the shard that is new, nil when there is one already.
func (c *Coordinator) lead(index, leaderEpoch int32) *shard {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.shards[index]
	switch {
	case s != nil && leaderEpoch < s.leaderEpoch:
		return nil
	case s != nil && s.status != away && s.status != failed:
		s.leaderEpoch = leaderEpoch
		return nil
	}
	s = &shard{index: index, leaderEpoch: leaderEpoch}
	c.shards[index] = s
	return s
}

// settled has the shard loaded, now that its log shows all.
func (c *Coordinator) settled(s *shard, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.shards[s.index] != s: // given up meanwhile
	case err != nil:
		s.status, s.err = failed, err
	default:
		c.want(s)
	}
}

// want has the shard loaded by whoever is free to. The lock is held.
func (c *Coordinator) want(s *shard) {
	c.wanted = append(c.wanted, s)
	c.callLoader()
}

func (c *Coordinator) callLoader() {
	select {
	case c.loadable <- struct{}{}:
	default:
	}
}

// Resign ends the groups of a partition, since another broker leads it as of
// leaderEpoch, or, with -1, since this broker has it no more. A load that is under
// way is given up, and those who wait for an answer are told to look for the
// coordinator. When it returns, nothing of those groups will be appended any more;
// it may not be called with a lock that Log.Append takes. What an earlier epoch says
// comes too late.
func (c *Coordinator) Resign(index, leaderEpoch int32) {
	c.mu.Lock()
	s := c.shards[index]
	if s != nil && leaderEpoch >= 0 && leaderEpoch < s.leaderEpoch {
		c.mu.Unlock()
		return
	}
	c.shards[index] = &shard{index: index, leaderEpoch: leaderEpoch, status: away}
	if s == nil || s.status == away {
		c.mu.Unlock()
		return
	}
	s.status = away
	if s.cancel != nil {
		s.cancel()
	}
	c.wanted = slices.DeleteFunc(c.wanted, func(w *shard) bool { return w == s })
	var gone []*cell
	for _, k := range c.groups {
		if k.shard == s {
			gone = append(gone, k)
		}
	}
	c.mu.Unlock()
	for _, k := range gone {
		k.unload()
	}
	s.appending.Wait()
	c.log.Info("groups given up", "partition", s.name(), "leaderEpoch", leaderEpoch, "groups", len(gone))
}

// count is how many partitions the topic has, 0 before it is made. The lock is held.
func (c *Coordinator) count() int32 {
	if c.cfg.Clustered {
		return c.topic.Partitions()
	}
	return c.partitions
}

// serving returns the shard that has the group, or why the group cannot be served
// here; neither, before a broker that shares its groups with nobody has made the
// topic. The lock is held.
func (c *Coordinator) serving(id string) (*shard, error) {
	if !c.opened {
		return nil, ErrLoading
	}
	partitions := c.count()
	switch {
	case partitions <= 0 && c.cfg.Clustered:
		return nil, fmt.Errorf("%w: %s is not there yet", ErrNotHere, Topic)
	case partitions <= 0:
		return nil, nil
	}
	s := c.shards[PartitionFor(id, partitions)]
	switch {
	case s == nil || s.status == away:
		return nil, ErrNotHere
	case s.status == loading:
		return nil, ErrLoading
	case s.status == failed:
		return nil, fmt.Errorf("%w: %s: %v", ErrNotAvailable, s.name(), s.err)
	}
	return s, nil
}

// find returns the group's cell, nil when there is none.
func (c *Coordinator) find(id string) (*cell, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if _, err := c.serving(id); err != nil {
		return nil, err
	}
	return c.groups[id], nil
}

// findOrMake returns the group's cell, which may be a new one. A broker that shares
// its groups with nobody makes the topic if it is not there.
func (c *Coordinator) findOrMake(id string) (*cell, error) {
	for {
		k, err := c.findOrMakeCell(id)
		if err != errNoTopic {
			return k, err
		}
		if err := c.create(); err != nil {
			return nil, err
		}
	}
}

// errNoTopic is between findOrMake and its other half.
var errNoTopic = errors.New("the topic is not there")

func (c *Coordinator) findOrMakeCell(id string) (*cell, error) {
	now, _ := c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.serving(id)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return nil, errNoTopic
	case c.groups[id] != nil:
		return c.groups[id], nil
	case len(c.groups) >= c.cfg.MaxGroups:
		return nil, fmt.Errorf("%w: there are %d", ErrTooMuch, len(c.groups))
	}
	k := newCell(c, s, newGroup(id, c.limits(), now))
	c.groups[id] = k
	return k, nil
}
