package region

import (
	"context"
	"fmt"
	"maps"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/zk"
)

// AlterTopic implements cluster.Coordinator.
func (r *Region) AlterTopic(ctx context.Context, name string, a cluster.Alteration) (err error) {
	defer func() { err = away(err) }()
	s, err := r.current()
	if err != nil {
		return err
	}
	now, ok := r.Snapshot().Topic(name)
	if !ok {
		return fmt.Errorf("%w: %.60q", cluster.ErrUnknownTopic, name)
	}
	before, version, own, err := s.TopicSettings(ctx, name)
	if err != nil {
		return err
	}
	t := imageTopic{ID: now.ID, Config: before, Own: own}
	altered, changed, err := a.Apply(t.overrides(), r.Snapshot().Defaults)
	if err != nil || !changed || a.ValidateOnly {
		return err
	}
	if err := s.SetTopicSettings(ctx, name, t.ID, altered, version); err != nil {
		return err
	}
	r.log.Info("topic settings changed", "topic", name, "settings", altered)
	return r.readTopics(ctx, *readerOf(s), []string{name})
}

// AlterDefaults implements cluster.Coordinator. In ZooKeeper settings have the
// brokers' names for them; those that this broker does not know stay as they are.
func (r *Region) AlterDefaults(ctx context.Context, of cluster.Scope, a cluster.Alteration) (err error) {
	defer func() { err = away(err) }()
	s, err := r.current()
	if err != nil {
		return err
	}
	entity := zk.BrokerDefaults
	if of == cluster.ThisBroker {
		entity = zk.BrokerEntity(r.cfg.Self.ID)
	}
	set, version, err := s.Config(ctx, entity, nil)
	if err != nil {
		return err
	}
	altered, changed, err := a.Apply(topicNames(set), r.cfg.Defaults)
	if err != nil {
		return err
	}
	next := maps.Clone(set)
	if err := cluster.AlterRates(next, a.Rates, a.Replace); err != nil {
		return err
	}
	if a.ValidateOnly || !changed && maps.Equal(next, set) {
		return nil
	}
	maps.DeleteFunc(next, func(brokerKey, _ string) bool { _, ours := topic.ByBrokerKey(brokerKey); return ours })
	for _, d := range topic.Defaults().Describe() {
		if value, ok := altered[d.Name]; ok && d.BrokerKey != "" {
			next[d.BrokerKey] = value
		}
	}
	if err := s.SetConfig(ctx, entity, next, version); err != nil {
		return err
	}
	r.log.Info("default topic settings changed", "of", string(entity), "settings", altered)
	return r.readEntity(ctx, s, entity)
}

// AlterQuotas implements cluster.Coordinator. ZooKeeper has a node for each client:
// one that fails leaves those before it changed, as with Kafka.
func (r *Region) AlterQuotas(ctx context.Context, changes []quota.Change, validateOnly bool) (err error) {
	defer func() { err = away(err) }()
	s, err := r.current()
	if err != nil {
		return err
	}
	if _, err := r.Snapshot().Quotas.With(changes); err != nil || validateOnly {
		return err
	}
	byClient := map[string][]quota.Change{}
	for _, c := range changes {
		client := c.ClientID
		if c.Default {
			client = zk.DefaultName
		}
		byClient[client] = append(byClient[client], c)
	}
	for client, changes := range byClient {
		if err := r.alterQuota(ctx, s, zk.QuotaEntity("", client), changes); err != nil {
			return err
		}
	}
	return nil
}

func (r *Region) alterQuota(ctx context.Context, s *zk.Session, entity zk.Entity, changes []quota.Change) error {
	set, version, err := s.Config(ctx, entity, nil)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.Rate == 0 {
			delete(set, c.Kind.String())
			continue
		}
		set[c.Kind.String()] = fmt.Sprintf("%d.0", c.Rate) // a double, as Kafka writes it
	}
	if err := s.SetConfig(ctx, entity, set, version); err != nil {
		return err
	}
	return r.readEntity(ctx, s, entity)
}
