package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// term is what a controller knows during its term. Only the goroutine of Run
// touches it. An error of one of its methods is one of the store's, after which
// what is here may not be what is there: the round ends with it.
type term struct {
	*Controller
	Store
	epoch   int32
	log     *slog.Logger
	answers chan answer
	spawn   func(*sender)

	brokers map[int32]*broker
	topics  map[string]*topicInfo
	legacy  map[cluster.TopicPartition]bool // moves that are asked for by the node for it
	outbox  map[int32]*orders               // what flush gives to the senders
}

// broker is a live one.
type broker struct {
	cluster.Registration
	leaving bool // a controlled shutdown has begun
	sender  *sender
}

type topicInfo struct {
	name       string
	id         topic.ID
	version    int32 // of its node
	partitions map[int32]*partition
	deletion   *deletion // nil: it stays
}

type partition struct {
	of         cluster.TopicPartition
	topic      *topicInfo
	assignment cluster.Assignment
	exists     bool // state stands in the store; else the partition is new, and nobody could lead it so far
	state      cluster.PartitionState
	failed     map[int32]bool // brokers whose disk has lost it
	shed       *shedding      // nil, but for one that moves
}

func (t *term) roll(p *partition) roll {
	return roll{
		online: func(id int32) bool { b := t.brokers[id]; return b != nil && !b.leaving && !p.failed[id] },
		alive:  func(id int32) bool { return t.brokers[id] != nil && !p.failed[id] },
	}
}

// leaderless reports whether nobody leads p, or nobody who could.
func (t *term) leaderless(p *partition) bool {
	return !p.exists || p.state.Leader == noLeader || !t.roll(p).alive(p.state.Leader)
}

// find finds a partition, also of a topic that is to be deleted, or returns nil.
func (t *term) find(tp cluster.TopicPartition) *partition {
	if info := t.topics[tp.Topic]; info != nil {
		return info.partitions[tp.Index]
	}
	return nil
}

// partition finds one that is not to be deleted.
func (t *term) partition(tp cluster.TopicPartition) (*partition, error) {
	info := t.topics[tp.Topic]
	if info == nil || info.deletion != nil {
		return nil, fmt.Errorf("%w: %.100q", cluster.ErrUnknownTopic, tp.Topic)
	}
	p := info.partitions[tp.Index]
	if p == nil {
		return nil, fmt.Errorf("%w: %s", cluster.ErrUnknownPartition, tp)
	}
	return p, nil
}

// some returns the partitions that are chosen, but for those that are to be
// deleted.
func (t *term) some(chosen func(*partition) bool) []*partition {
	var out []*partition
	for _, info := range t.topics {
		if info.deletion != nil {
			continue
		}
		for _, p := range info.partitions {
			if chosen(p) {
				out = append(out, p)
			}
		}
	}
	return out
}

func (t *term) liveBroker(id int32) bool { return t.brokers[id] != nil }

// registrations returns who is alive, by id.
func (t *term) registrations() []cluster.Registration {
	out := make([]cluster.Registration, 0, len(t.brokers))
	for _, b := range t.brokers {
		out = append(out, b.Registration)
	}
	slices.SortFunc(out, func(a, b cluster.Registration) int { return int(a.ID) - int(b.ID) })
	return out
}

// maxAttempts bounds how often a decision is made anew because someone else, a
// leader that writes its ISR itself, was faster.
const maxAttempts = 5

// decide writes what rule makes of each partition's state, where it makes
// something of it, and queues the orders that follow.
func (t *term) decide(ctx context.Context, parts []*partition, rule func(*partition) (cluster.PartitionState, bool)) error {
	for range maxAttempts {
		next := map[cluster.TopicPartition]cluster.PartitionState{}
		byName := map[cluster.TopicPartition]*partition{}
		for _, p := range parts {
			if s, ok := rule(p); ok && p.exists {
				s.ControllerEpoch = t.epoch
				s.Recovering = s.Recovering && t.cfg.Versions.LeaderAndISR >= 6
				next[p.of], byName[p.of] = s, p
			}
		}
		if len(next) == 0 {
			return nil
		}
		versions, failed, err := t.SetStates(ctx, next)
		if err != nil {
			return err
		}
		for tp, version := range versions {
			p, s := byName[tp], next[tp]
			s.PartitionEpoch = version
			t.note(p, s)
			t.order(p, false)
			t.announce(p)
		}
		if parts, err = t.reread(ctx, byName, failed); err != nil {
			return err
		}
	}
	t.log.Warn("states change faster than they can be decided", "partitions", len(parts))
	return nil
}

// note has p in state s, and logs it if that is news.
func (t *term) note(p *partition, s cluster.PartitionState) {
	was := p.state
	p.state, p.exists = s, true
	switch {
	case s.Leader == noLeader && was.Leader != noLeader:
		t.log.Warn("partition has no leader", "partition", p.of.String(), "leaderEpoch", s.LeaderEpoch, "isr", s.ISR)
	case s.Leader != was.Leader && s.Leader != noLeader && !slices.Contains(was.ISR, s.Leader) && s.LeaderEpoch > 0:
		t.metrics.unclean.Inc()
		t.log.Error("leader elected outside the ISR: records are lost", "partition", p.of.String(), "leader", s.Leader, "leaderEpoch", s.LeaderEpoch, "isr", was.ISR)
	default:
		t.log.Debug("partition decided", "partition", p.of.String(), "leader", s.Leader, "leaderEpoch", s.LeaderEpoch, "isr", s.ISR)
	}
}

// reread takes over the states of partitions that could not be written, and
// returns those that are still there.
func (t *term) reread(ctx context.Context, parts map[cluster.TopicPartition]*partition, failed map[cluster.TopicPartition]error) ([]*partition, error) {
	var of []cluster.TopicPartition
	for tp, err := range failed {
		if !errors.Is(err, cluster.ErrVersion) {
			t.log.Error("state not written", "partition", tp.String(), "err", err)
			continue
		}
		of = append(of, tp)
	}
	if len(of) == 0 {
		return nil, nil
	}
	states, err := t.States(ctx, of)
	if err != nil {
		return nil, err
	}
	var out []*partition
	for tp, s := range states {
		if s.ControllerEpoch > t.epoch {
			return nil, fmt.Errorf("%s was decided by controller epoch %d: %w", tp, s.ControllerEpoch, cluster.ErrFenced)
		}
		p := parts[tp]
		p.state, p.exists = s, true
		t.announce(p)
		out = append(out, p)
	}
	return out, nil
}

// elect gives each partition of parts that needs one a leader, makes the states of
// new ones, and takes out of ISRs who is gone.
func (t *term) elect(ctx context.Context, parts []*partition) error {
	if err := t.initiate(ctx, parts); err != nil {
		return err
	}
	unclean, err := t.uncleanTopics(ctx, parts)
	if err != nil {
		return err
	}
	return t.decide(ctx, parts, func(p *partition) (cluster.PartitionState, bool) {
		return afterChange(p.assignment, p.state, t.roll(p), unclean[p.of.Topic])
	})
}

// electMissing is elect for all partitions that nobody leads.
func (t *term) electMissing(ctx context.Context) error {
	return t.elect(ctx, t.some(t.leaderless))
}

// initiate makes the first states of partitions that have none.
func (t *term) initiate(ctx context.Context, parts []*partition) error {
	states := map[cluster.TopicPartition]cluster.PartitionState{}
	byName := map[cluster.TopicPartition]*partition{}
	for _, p := range parts {
		if p.exists {
			continue
		}
		if s, ok := firstState(p.assignment, t.roll(p)); ok {
			s.ControllerEpoch = t.epoch
			states[p.of], byName[p.of] = s, p
		}
	}
	if len(states) == 0 {
		return nil
	}
	failed, err := t.CreateStates(ctx, states)
	if err != nil {
		return err
	}
	for tp, s := range states {
		if failed[tp] == nil {
			t.note(byName[tp], s)
			t.order(byName[tp], true)
			t.announce(byName[tp])
		}
	}
	_, err = t.reread(ctx, byName, failed)
	return err
}

// uncleanTopics tells which topics let someone outside the ISR lead, of those with
// a partition in parts for which that could matter.
func (t *term) uncleanTopics(ctx context.Context, parts []*partition) (map[string]bool, error) {
	out := map[string]bool{}
	var defaults map[string]string
	for _, p := range parts {
		if _, known := out[p.of.Topic]; known || !p.exists || !t.leaderless(p) || slices.ContainsFunc(p.state.ISR, t.roll(p).alive) {
			continue
		}
		own, err := t.TopicConfig(ctx, p.of.Topic)
		if err != nil {
			return nil, err
		}
		value, set := own[uncleanSetting]
		if !set && defaults == nil {
			if defaults, err = t.BrokerDefaults(ctx); err != nil {
				return nil, err
			}
			if defaults == nil {
				defaults = map[string]string{}
			}
		}
		if !set {
			value, set = defaults[uncleanSetting]
		}
		out[p.of.Topic] = value == "true" || !set && t.cfg.Unclean
	}
	return out, nil
}

const uncleanSetting = "unclean.leader.election.enable"
