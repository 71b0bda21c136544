package region

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/zk"
)

// The kinds of entities that have settings which matter here.
var kinds = []string{"brokers", "clients"}

// readAll reads what changed while there was no session: which topics there are, and
// everybody's settings.
func (r *Region) readAll(ctx context.Context, s *zk.Session) error {
	topics, err := s.Topics(ctx, nil)
	if err != nil {
		return err
	}
	exist := make(map[string]bool, len(topics))
	for _, name := range topics {
		exist[name] = true
	}
	r.mu.Lock()
	for name := range r.image.Topics {
		if !exist[name] {
			delete(r.image.Topics, name)
			r.unsaved = true
		}
	}
	r.publish()
	r.mu.Unlock()
	for _, kind := range kinds {
		entities, err := s.Entities(ctx, kind)
		if err != nil {
			return err
		}
		for _, e := range entities {
			if err := r.readEntity(ctx, s, e); err != nil {
				return err
			}
		}
	}
	return r.readTopics(ctx, s, topics)
}

// readTopics reads the settings of topics, several at one time.
func (r *Region) readTopics(ctx context.Context, s *zk.Session, names []string) error {
	errs := make(chan error, len(names))
	each(names, func(name string) { errs <- r.readEntity(ctx, s, zk.TopicEntity(name)) })
	for range names {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// readEntity reads the settings of one entity, and applies them.
func (r *Region) readEntity(ctx context.Context, s *zk.Session, e zk.Entity) error {
	set, _, err := s.Config(ctx, e, nil)
	if err != nil {
		return fmt.Errorf("settings of %s: %w", e, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if name, ok := e.Topic(); ok {
		r.setTopic(name, set)
	} else if id, ok := e.Broker(); ok {
		r.setDefaults(id, set)
	} else if user, client, ok := e.Quota(); ok && user == "" {
		r.setQuota(client, set)
	} else {
		return nil
	}
	r.unsaved = true
	r.publish()
	return nil
}

// setDefaults takes what a broker, or with -1 all, have for topics without settings
// of their own.
func (r *Region) setDefaults(id int32, set map[string]string) {
	switch id {
	case -1:
		r.image.AllBrokers = set
	case r.cfg.Self.ID:
		r.image.ThisBroker = set
	default:
		return
	}
	for tp := range r.replicas {
		r.host.Configure(tp.Topic, tp.Index, r.settings(tp.Topic))
	}
}

// setQuota takes what a client may have. There is a bound to how many are
// remembered.
func (r *Region) setQuota(client string, set map[string]string) {
	switch {
	case len(set) == 0:
		delete(r.image.Clients, client)
	case r.image.Clients[client] != nil || len(r.image.Clients) < quota.MaxEntities:
		r.image.Clients[client] = set
	default:
		r.log.Warn("quota not applied: there are too many", "client", client)
	}
}

// setTopic gives a topic its settings. One that is not known yet gets them when the
// controller tells of it.
func (r *Region) setTopic(name string, set map[string]string) {
	t, ok := r.image.Topics[name]
	if !ok || maps.Equal(t.Overrides, set) {
		return
	}
	t.Overrides = set
	r.configure(name)
}

// configure tells this broker's partitions of a topic which settings they have.
func (r *Region) configure(name string) {
	settings := r.settings(name)
	for tp := range r.replicas {
		if tp.Topic == name {
			r.host.Configure(tp.Topic, tp.Index, settings)
		}
	}
}

// purgeAfter is how long notices of changed settings stay, as with Kafka: a broker
// that was away longer reads all settings.
const purgeAfter = 15 * time.Minute

// watchSettings applies the settings that others change.
func (r *Region) watchSettings(ctx context.Context, s *zk.Session) error {
	watch, changed := zk.NewWatch()
	last := ""
	for {
		entities, newest, err := s.ConfigChanges(ctx, last, watch)
		if err == nil {
			err = r.applyChanges(ctx, s, entities)
		}
		switch {
		case errors.Is(err, zk.ErrOver) || ctx.Err() != nil:
			return err
		case err != nil:
			r.log.Warn("changed settings not read; they are read again", "err", err)
			pause(ctx, retryAfter)
			continue
		}
		last = newest
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.PurgeConfigChanges(ctx, purgeAfter); err != nil {
			r.log.Warn("old notices of changed settings not removed", "err", err)
		}
	}
}

func (r *Region) applyChanges(ctx context.Context, s *zk.Session, entities []zk.Entity) error {
	for _, e := range entities {
		if err := r.readEntity(ctx, s, e); err != nil {
			return err
		}
		if name, ok := e.Topic(); ok {
			_ = r.controller.UncleanChanged(ctx, name) // of no meaning where there is no term
		}
	}
	return nil
}

// AlterTopic implements cluster.Coordinator.
func (r *Region) AlterTopic(ctx context.Context, name string, a cluster.Alteration) (err error) {
	defer func() { err = away(err) }()
	s, err := r.current()
	if err != nil {
		return err
	}
	if _, ok := r.Snapshot().Topic(name); !ok {
		return fmt.Errorf("%w: %.60q", cluster.ErrUnknownTopic, name)
	}
	entity := zk.TopicEntity(name)
	set, version, err := s.Config(ctx, entity, nil)
	if err != nil {
		return err
	}
	altered, changed, err := a.Apply(set, r.Snapshot().Defaults)
	if err != nil || !changed || a.ValidateOnly {
		return err
	}
	if err := s.SetConfig(ctx, entity, altered, version); err != nil {
		return err
	}
	r.log.Info("topic settings changed", "topic", name, "settings", altered)
	return r.readEntity(ctx, s, entity)
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
	if err != nil || !changed || a.ValidateOnly {
		return err
	}
	next := maps.Clone(set)
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

// readSettings reads the settings of topics that were heard of just now. Without a
// session they come with the next. r.mu is held, and let go for the reads.
func (r *Region) readSettings(names []string) {
	m := r.joined.Load()
	if m == nil || len(names) == 0 {
		return
	}
	r.mu.Unlock()
	defer r.mu.Lock()
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	if err := r.readTopics(ctx, m.session, names); err != nil {
		r.log.Warn("settings of new topics not read; they have the defaults until the next session", "topics", strings.Join(names[:min(len(names), 10)], " "), "err", err)
	}
}
