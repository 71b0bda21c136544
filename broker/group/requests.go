package group

import (
	"fmt"
	"slices"
	"time"
)

// Ready reports whether the group can be served here, nil, or why it cannot.
func (c *Coordinator) Ready(id string) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, err := c.serving(id)
	return err
}

// Join answers on the channel, at the latest when the group's next generation has
// begun. The member stays one that has joined when nobody takes the answer.
func (c *Coordinator) Join(r *JoinRequest) <-chan JoinResult {
	answer := make(chan JoinResult, 1)
	reply := func(res JoinResult) { answer <- res }
	if err := c.checkJoin(r); err != nil {
		reply(JoinResult{MemberID: r.MemberID, Err: err})
		return answer
	}
	newID := r.ClientID + "-" + c.newID()
	if r.InstanceID != "" {
		newID = r.InstanceID + "-" + c.newID()
	}
	r.Protocols = unique(r.Protocols)
	for {
		k, err := c.find(r.Group)
		if k == nil && err == nil && r.MemberID == "" {
			k, err = c.findOrMake(r.Group)
		} else if k == nil && err == nil {
			err = ErrUnknownMember
		}
		if err != nil {
			reply(JoinResult{MemberID: r.MemberID, Err: err})
			return answer
		}
		served := k.do(func(g *group, now time.Time) {
			if err := c.room(r.growth(g)); err != nil {
				reply(JoinResult{MemberID: r.MemberID, Err: err})
				return
			}
			g.join(now, r, newID, reply)
		})
		if served {
			return answer
		}
	}
}

func (c *Coordinator) checkJoin(r *JoinRequest) error {
	switch {
	case r.Group == "":
		return ErrInvalidID
	case tooLong(r.Group, r.MemberID, r.InstanceID, r.ClientID, r.ProtocolType):
		return ErrTooLong
	case slices.ContainsFunc(r.Protocols, func(p Protocol) bool { return tooLong(p.Name) }):
		return ErrTooLong
	case r.SessionTimeout < c.cfg.MinSessionTimeout || r.SessionTimeout > c.cfg.MaxSessionTimeout:
		return fmt.Errorf("%w: %v, allowed is %v to %v", ErrSessionTimeout, r.SessionTimeout, c.cfg.MinSessionTimeout, c.cfg.MaxSessionTimeout)
	}
	return nil
}

// growth is how much more memory the group takes with r, about.
func (r *JoinRequest) growth(g *group) int64 {
	before := int64(0)
	if m := g.byID[r.MemberID]; m != nil {
		before = m.bytes
	}
	return protocolBytes(r.Protocols) + memberBytes - before
}

// unique drops protocols that are named twice; the first counts.
func unique(protocols []Protocol) []Protocol {
	seen := map[string]bool{}
	return slices.DeleteFunc(protocols, func(p Protocol) bool {
		again := seen[p.Name]
		seen[p.Name] = true
		return again
	})
}

func tooLong(texts ...string) bool {
	return slices.ContainsFunc(texts, func(s string) bool { return len(s) > maxIDBytes })
}

// Sync answers on the channel, when the generation's assignment is stored.
func (c *Coordinator) Sync(r *SyncRequest) <-chan SyncResult {
	answer := make(chan SyncResult, 1)
	reply := func(res SyncResult) { answer <- res }
	err := c.doMember(r.Group, func(g *group, now time.Time) {
		size := int64(0)
		for _, assignment := range r.Assignments {
			size += int64(len(assignment))
		}
		if err := c.room(size); err != nil {
			reply(SyncResult{Err: err})
			return
		}
		g.sync(now, r, reply)
	})
	if err == ErrLoading {
		err = ErrRebalancing // the round of joining is lost, and clients do not expect to be told so
	}
	if err != nil {
		reply(SyncResult{Err: err})
	}
	return answer
}

// doMember has f change a group for a member of it, who is unknown where the group
// is; f has been called when there is no error.
func (c *Coordinator) doMember(id string, f func(g *group, now time.Time)) error {
	if id == "" {
		return ErrInvalidID
	}
	return c.doKnown(id, ErrUnknownMember, f)
}

// doKnown has f change a group, or returns unknown when there is none. One that goes
// while it is looked for may have gone to another broker.
func (c *Coordinator) doKnown(id string, unknown error, f func(g *group, now time.Time)) error {
	for {
		k, err := c.find(id)
		switch {
		case err != nil:
			return err
		case k == nil:
			return unknown
		case k.do(f):
			return nil
		}
	}
}

// Heartbeat keeps a member in its group.
func (c *Coordinator) Heartbeat(r *HeartbeatRequest) (err error) {
	missing := c.doMember(r.Group, func(g *group, now time.Time) { err = g.heartbeat(now, r) })
	switch missing {
	case nil:
		return err
	case ErrLoading:
		return nil // it will have a whole session once the group is loaded
	}
	return missing
}

// Leave takes members out of a group; errs are theirs.
func (c *Coordinator) Leave(id string, leaving []LeavingMember) (errs []error, err error) {
	err = c.doMember(id, func(g *group, now time.Time) { errs = g.leave(now, leaving) })
	if err == ErrUnknownMember {
		return slices.Repeat([]error{ErrUnknownMember}, len(leaving)), nil
	}
	return errs, err
}

// Commit keeps offsets and answers on the channel, when they are durable: with an
// error for each of r.Offsets, in their order.
func (c *Coordinator) Commit(r *CommitRequest) <-chan []error {
	answer := make(chan []error, 1)
	c.CommitThen(r, func(errs []error) { answer <- errs })
	return answer
}

// CommitThen is Commit for one who does not wait: done is called once. It may run
// before CommitThen returns, or on the goroutine that syncs, and with the group's
// lock held: it neither blocks nor calls the Coordinator.
func (c *Coordinator) CommitThen(r *CommitRequest, done func([]error)) {
	errs := make([]error, len(r.Offsets))
	fail := func(err error) {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
		c.metrics.count(errs)
		done(errs)
	}
	kept := *r
	kept.Offsets = nil
	for i, o := range r.Offsets {
		if errs[i] = c.CheckMetadata(o.Metadata); errs[i] != nil {
			continue
		}
		kept.Offsets = append(kept.Offsets, o)
	}
	if tooLong(r.Group) {
		fail(ErrTooLong)
		return
	}
	for {
		k, err := c.find(r.Group)
		switch {
		case err != nil || k != nil:
		case r.Generation >= 0:
			err = fmt.Errorf("%w: the group is unknown", ErrIllegalGeneration)
		default:
			k, err = c.findOrMake(r.Group)
		}
		if err != nil {
			fail(err)
			return
		}
		served := k.do(func(g *group, now time.Time) {
			if err := c.room(kept.growth(g)); err != nil {
				fail(err)
				return
			}
			g.commit(now, &kept, fail)
		})
		if served {
			return
		}
	}
}

// CheckMetadata is nil for what may stand beside an offset.
func (c *Coordinator) CheckMetadata(metadata string) error {
	if len(metadata) > c.cfg.MaxMetadataBytes {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMetadataTooLarge, len(metadata), c.cfg.MaxMetadataBytes)
	}
	return nil
}

// growth is how much more memory the group takes with r.
func (r *CommitRequest) growth(g *group) (n int64) {
	for i := range r.Offsets {
		o := offset{Offset: r.Offsets[i]}
		n += o.size()
		if have, ok := g.offsets[o.TopicPartition]; ok {
			n -= have.size()
		}
	}
	return n
}

// Fetch returns the offsets of partitions in their order, -1 for those without.
func (c *Coordinator) Fetch(id string, partitions []TopicPartition) (offsets []Offset, err error) {
	err = c.look(id, func(g *group) { offsets = g.fetch(partitions) })
	return offsets, err
}

// FetchAll returns all offsets of a group, in the order of topics and partitions.
func (c *Coordinator) FetchAll(id string) (offsets []Offset, err error) {
	err = c.look(id, func(g *group) { offsets = g.all() })
	return offsets, err
}

// look shows f the group; one that nobody knows is one without anything.
func (c *Coordinator) look(id string, f func(*group)) error {
	for {
		k, err := c.find(id)
		if err != nil {
			return err
		}
		if k == nil {
			now, _ := c.clock()
			f(newGroup(id, c.limits(), now))
			return nil
		}
		if k.read(f) {
			return nil
		}
		// It has gone: to another broker, it may be, and is not one without offsets.
	}
}

// DeleteOffsets removes offsets of a group and answers on the channel.
func (c *Coordinator) DeleteOffsets(id string, partitions []TopicPartition) <-chan Deleted {
	answer := make(chan Deleted, 1)
	reply := func(errs []error, err error) { answer <- Deleted{errs, err} }
	err := c.doKnown(id, unknownGroup(id), func(g *group, _ time.Time) { g.deleteOffsets(partitions, reply) })
	if err != nil {
		reply(nil, err)
	}
	return answer
}

// Forget drops the offset of a group without members for a partition, one that is
// on its way to the log included, and the group when it is left with none. done is
// as for CommitThen. There being no such offset is no error.
func (c *Coordinator) Forget(id string, tp TopicPartition, done func(error)) {
	err := c.doKnown(id, ErrUnknownGroup, func(g *group, _ time.Time) { g.forgetThen(tp, done) })
	switch err {
	case nil:
	case ErrUnknownGroup:
		done(nil)
	default:
		done(err)
	}
}

// Deleted is what became of a request to delete: of its parts, or of all of it.
type Deleted struct {
	Errs []error
	Err  error
}

// DropTopic drops the offsets of a topic that was deleted: one that is made in its
// place begins anew.
func (c *Coordinator) DropTopic(topic string) {
	for _, k := range c.cells() {
		k.do(func(g *group, _ time.Time) {
			g.dropOffsets(g.of(topic), func(err error) {
				if err != nil {
					c.log.Warn("offsets of a deleted topic not dropped", "group", g.id, "topic", topic, "err", err)
				}
			})
		})
	}
}

// Delete removes a group that has no members, and answers on the channel.
func (c *Coordinator) Delete(id string) <-chan error {
	answer := make(chan error, 1)
	reply := func(err error) { answer <- err }
	if err := c.doKnown(id, unknownGroup(id), func(g *group, _ time.Time) { g.delete(reply) }); err != nil {
		reply(err)
	}
	return answer
}

func unknownGroup(id string) error { return fmt.Errorf("%w: %.60q", ErrUnknownGroup, id) }
