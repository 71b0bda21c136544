package group

import (
	"context"
	"fmt"
	"time"
)

// createTimeout is how long the one who asks where a group is waits for the topic to
// be made. It is made all the same, and found the next time.
const createTimeout = 5 * time.Second

// Locate returns the partition of the topic that has the group: its leader is the
// coordinator. The first who asks has the topic made. Where groups are shared with
// nobody the partition is -1: this broker has them all, and makes the topic when there
// is something to keep.
func (c *Coordinator) Locate(ctx context.Context, id string) (partition int32, err error) {
	if !c.cfg.Clustered {
		return -1, nil
	}
	n := c.topic.Partitions()
	if n <= 0 {
		if !c.creating.TryLock() {
			return -1, fmt.Errorf("%w: %s is being made", ErrNotAvailable, Topic)
		}
		defer c.creating.Unlock()
		ctx, cancel := context.WithTimeout(ctx, createTimeout)
		defer cancel()
		if n, err = c.makeTopic(ctx); err != nil {
			return -1, err
		}
	}
	return PartitionFor(id, n), nil
}

// create makes the topic for a broker that shares its groups with nobody, and begins
// to serve it.
func (c *Coordinator) create() error {
	c.creating.Lock()
	defer c.creating.Unlock()
	c.mu.RLock()
	have := c.partitions
	c.mu.RUnlock()
	if have > 0 {
		return nil // someone was faster
	}
	n, err := c.makeTopic(context.Background())
	if err != nil {
		return err
	}
	made := make([]*shard, n)
	c.mu.Lock()
	c.partitions = n
	for i := range made {
		made[i] = &shard{index: int32(i)}
		c.shards[int32(i)] = made[i]
	}
	c.mu.Unlock()
	for _, s := range made {
		c.load(context.Background(), s) // all are empty
	}
	return nil
}

// makeTopic makes the topic and returns how many partitions it has. creating is held.
func (c *Coordinator) makeTopic(ctx context.Context) (int32, error) {
	n, err := c.topic.Create(ctx, c.cfg.Partitions, c.cfg.ReplicationFactor)
	if err == nil {
		c.createFailed = ""
		if n <= 0 { // as after every first request of a region: the controller is about to tell
			return 0, fmt.Errorf("%w: %s has been made, and is not known yet", ErrNotAvailable, Topic)
		}
		return n, nil
	}
	if c.createFailed != err.Error() { // clients try again and again, and are not told why
		c.createFailed = err.Error()
		c.log.Error("topic for groups and offsets not created; no group can be served", "topic", Topic, "err", err)
	}
	return 0, fmt.Errorf("%w: create %s: %v", ErrNotAvailable, Topic, err)
}
