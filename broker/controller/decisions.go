package controller

import (
	"context"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// alterISRs answers each wish of a leader, in the order of the wishes.
func (t *term) alterISRs(ctx context.Context, leader int32, wishes []ISRChange) ([]ISRAnswer, error) {
	answers := make([]ISRAnswer, len(wishes))
	granted := map[cluster.TopicPartition]int{} // places of wishes that change something
	parts := map[cluster.TopicPartition]*partition{}
	next := map[cluster.TopicPartition]cluster.PartitionState{}
	var names map[topic.ID]string
	for i, w := range wishes {
		if w.Topic == "" && names == nil {
			names = t.names()
		}
		answers[i] = ISRAnswer{Topic: w.Topic, ID: w.ID, Index: w.Index}
		p, err := t.wished(w, names)
		if err != nil {
			answers[i].Err = err
			continue
		}
		s, err := judge(p.state, p.assignment, leader, w, t.eligible(p))
		answers[i].State, answers[i].Err = s, err
		if err == nil && (!slices.Equal(s.ISR, p.state.ISR) || s.Recovering != p.state.Recovering) {
			s.ControllerEpoch = t.epoch
			granted[p.of], parts[p.of], next[p.of] = i, p, s
		}
	}
	if len(next) == 0 {
		return answers, nil
	}
	written, failed, err := t.writeISRs(ctx, parts, next)
	for tp, s := range written {
		answers[granted[tp]].State = s
	}
	for tp, err := range failed {
		answers[granted[tp]].Err = err
	}
	return answers, err
}

// writeISRs writes states that leaders asked for, and goes on with moves that may
// have waited for them. Followers need not be told: who leads is as before.
func (t *term) writeISRs(ctx context.Context, parts map[cluster.TopicPartition]*partition, next map[cluster.TopicPartition]cluster.PartitionState) (written map[cluster.TopicPartition]cluster.PartitionState, failed map[cluster.TopicPartition]error, err error) {
	versions, failed, err := t.SetStates(ctx, next)
	if err != nil {
		return nil, nil, err
	}
	written = make(map[cluster.TopicPartition]cluster.PartitionState, len(versions))
	for tp, version := range versions {
		s := next[tp]
		s.PartitionEpoch = version
		written[tp], parts[tp].state = s, s
		t.announce(parts[tp])
	}
	if _, err := t.reread(ctx, parts, failed); err != nil {
		return nil, nil, err
	}
	for tp := range versions {
		if err := t.advanceMove(ctx, parts[tp]); err != nil {
			return nil, nil, err
		}
	}
	return written, failed, nil
}

func (t *term) names() map[topic.ID]string {
	names := make(map[topic.ID]string, len(t.topics))
	for name, info := range t.topics {
		names[info.id] = name
	}
	return names
}

// wished finds the partition of a wish, by the topic's name or id.
func (t *term) wished(w ISRChange, names map[topic.ID]string) (*partition, error) {
	name := w.Topic
	if name == "" {
		var ok bool
		if name, ok = names[w.ID]; !ok || w.ID == (topic.ID{}) {
			return nil, cluster.ErrUnknownTopicID
		}
	}
	switch p := t.find(cluster.TopicPartition{Topic: name, Index: w.Index}); {
	case p == nil || !p.exists:
		return nil, cluster.ErrUnknownPartition
	case p.topic.goes():
		return nil, cluster.ErrUnknownTopic
	default:
		return p, nil // also while its topic's deletion waits for a move
	}
}

// eligible says who may come into the ISR of p: who is online, as the registration
// that is meant, and is not about to drop it.
func (t *term) eligible(p *partition) func(ISRMember) bool {
	online := t.roll(p).online
	return func(m ISRMember) bool {
		if p.shed != nil && slices.Contains(p.shed.leaving, m.ID) {
			return false
		}
		return online(m.ID) && (m.Epoch == -1 || m.Epoch == t.brokers[m.ID].Epoch)
	}
}

// shutDown takes a broker out of what can do without it.
func (t *term) shutDown(ctx context.Context, id int32) ([]cluster.TopicPartition, error) {
	if b := t.brokers[id]; !b.leaving {
		b.leaving = true
		t.log.Info("broker leaves", "broker", id)
	}
	parts := t.some(func(p *partition) bool {
		return p.exists && len(p.assignment.Replicas) > 1 && slices.Contains(p.assignment.Replicas, id)
	})
	var follows []*partition
	for _, p := range parts {
		if p.state.Leader != id {
			follows = append(follows, p)
		}
	}
	err := t.decide(ctx, parts, func(p *partition) (cluster.PartitionState, bool) {
		return handOver(p.assignment, p.state, id, t.roll(p))
	})
	if err != nil {
		return nil, err
	}
	for _, p := range follows {
		t.halt(p, id, false)
	}
	var remaining []cluster.TopicPartition
	for _, p := range parts {
		if p.state.Leader == id {
			remaining = append(remaining, p.of)
		}
	}
	t.log.Info("broker has been taken out", "broker", id, "remaining", len(remaining))
	return remaining, nil
}

// chosen returns the partitions of a list that there are, or all for nil.
func (t *term) chosen(of []cluster.TopicPartition) []*partition {
	if of == nil {
		return t.some(func(*partition) bool { return true })
	}
	var out []*partition
	for _, tp := range of {
		if p, err := t.partition(tp); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// electWanted holds elections that somebody asked for.
func (t *term) electWanted(ctx context.Context, of []cluster.TopicPartition, unclean bool) (map[cluster.TopicPartition]error, error) {
	out := map[cluster.TopicPartition]error{}
	for _, tp := range of {
		_, err := t.partition(tp)
		out[tp] = err
	}
	parts := t.chosen(of)
	if unclean {
		if err := t.initiate(ctx, parts); err != nil {
			return nil, err
		}
	}
	err := t.decide(ctx, parts, func(p *partition) (cluster.PartitionState, bool) {
		next, err := t.vote(p, unclean)
		out[p.of] = err
		return next, err == nil
	})
	if err != nil {
		return nil, err
	}
	for tp, err := range out {
		if of == nil && err == cluster.ErrElectionNotNeeded {
			delete(out, tp)
		}
	}
	return out, nil
}

// vote is one election that somebody asked for.
func (t *term) vote(p *partition, unclean bool) (cluster.PartitionState, error) {
	switch {
	case !p.exists:
		return p.state, cluster.ErrNoEligibleLeader
	case !unclean:
		return preferred(p.assignment, p.state, t.roll(p))
	case !t.leaderless(p):
		return p.state, cluster.ErrElectionNotNeeded
	}
	next, _ := afterChange(p.assignment, p.state, t.roll(p), true)
	if next.Leader == noLeader {
		return p.state, cluster.ErrNoEligibleLeader
	}
	return next, nil
}

// wantedElections holds the elections that the node for them asks for.
func (t *term) wantedElections(ctx context.Context) error {
	of, err := t.WantedElections(ctx)
	if err != nil || len(of) == 0 {
		return err
	}
	results, err := t.electWanted(ctx, of, false)
	if err != nil {
		return err
	}
	for _, tp := range inOrder(results) {
		if err := results[tp]; err != nil && err != cluster.ErrElectionNotNeeded {
			t.log.Warn("preferred leader not elected", "partition", tp.String(), "err", err)
		}
	}
	return t.RemoveWantedElections(ctx)
}

// balance gives back what preferred leaders do not lead, if it is too much of what
// they should.
func (t *term) balance(ctx context.Context) error {
	all := t.some(func(p *partition) bool { return p.exists && !moving(p.assignment) })
	leaders := make([]leadership, 0, len(all))
	for _, p := range all {
		leaders = append(leaders, leadership{preferred: p.assignment.Replicas[0], leader: p.state.Leader})
	}
	due := imbalanced(leaders, t.cfg.ImbalancePercent)
	parts := make([]*partition, 0, len(due))
	for _, i := range due {
		parts = append(parts, all[i])
	}
	held := 0
	err := t.decide(ctx, parts, func(p *partition) (cluster.PartitionState, bool) {
		next, err := preferred(p.assignment, p.state, t.roll(p))
		if err == nil {
			held++
		}
		return next, err == nil
	})
	if held > 0 {
		t.log.Info("preferred leaders elected", "partitions", held)
	}
	return err
}
