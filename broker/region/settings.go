package region

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/zk"
)

// The kinds of entities that have settings which matter here.
var kinds = []string{"brokers", "clients"}

// topicSettings is what a topic was given.
type topicSettings struct {
	config map[string]string
	own    zk.Own
}

// settingsReader reads what a topic was given, from ZooKeeper.
type settingsReader func(ctx context.Context, topic string) (topicSettings, error)

func readerOf(s *zk.Session) *settingsReader {
	read := settingsReader(func(ctx context.Context, name string) (out topicSettings, err error) {
		out.config, _, out.own, err = s.TopicSettings(ctx, name)
		return out, err
	})
	return &read
}

// readAll reads all settings: while there was no session they may have changed. What
// is known of topics that there are now is complete then.
func (r *Region) readAll(ctx context.Context, s *zk.Session) error {
	topics, err := s.Topics(ctx, nil)
	if err != nil {
		return err
	}
	r.mu.Lock()
	for _, name := range topics {
		r.image.topic(name)
	}
	r.mu.Unlock()
	if err := r.readTopics(ctx, *readerOf(s), topics); err != nil {
		return err
	}
	for _, kind := range kinds {
		entities, err := s.Entities(ctx, kind)
		if err != nil {
			return err
		}
		r.forget(kind, entities)
		for _, e := range entities {
			if err := r.readEntity(ctx, s, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// readTopics reads the settings of topics, several at one time, and applies them at
// once. Those that could be read apply also when others could not.
func (r *Region) readTopics(ctx context.Context, read settingsReader, names []string) error {
	if len(names) == 0 {
		return nil
	}
	sets := make([]topicSettings, len(names))
	errs := make([]error, len(names))
	each(len(names), func(i int) { sets[i], errs[i] = r.readTopic(ctx, read, names[i]) })
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, name := range names {
		if errs[i] == nil {
			r.setTopic(name, sets[i])
		}
	}
	r.publish()
	return errors.Join(errs...)
}

// readTopic reads the settings of one topic. Those that cannot be understood, which
// someone wrote by hand, are none: the others, and the session, are not to suffer.
func (r *Region) readTopic(ctx context.Context, read settingsReader, name string) (topicSettings, error) {
	set, err := read(ctx, name)
	if errors.Is(err, zk.ErrMalformed) {
		r.log.Error("settings of a topic cannot be read; it has the defaults", "topic", name, "err", err)
		return topicSettings{own: zk.Own{Device: -1}}, nil
	}
	if err != nil {
		return set, fmt.Errorf("settings of %s: %w", name, err)
	}
	return set, nil
}

// learn reads the settings of topics that were heard of just now: until they are
// known, nobody is told of the topics. What cannot be read is read by watchSettings.
// orders is held.
func (r *Region) learn(names []string) {
	read := r.reads.Load()
	if read == nil || len(names) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	if err := r.readTopics(ctx, *read, names); err != nil {
		r.log.Warn("settings of new topics not read; the topics are not shown until they are", "topics", strings.Join(names[:min(len(names), 10)], " "), "err", err)
		select {
		case r.unreadLeft <- struct{}{}:
		default:
		}
	}
}

// unread are the topics that are not shown since their settings are not known.
func (r *Region) unread() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, t := range r.image.Topics {
		if !t.read {
			names = append(names, name)
		}
	}
	return names
}

// readEntity reads the settings of one entity, and applies them.
func (r *Region) readEntity(ctx context.Context, s *zk.Session, e zk.Entity) error {
	if name, ok := e.Topic(); ok {
		return r.readTopics(ctx, *readerOf(s), []string{name})
	}
	id, broker := e.Broker()
	user, client, quota := e.Quota()
	if !broker && (!quota || user != "") {
		return nil
	}
	set, _, err := s.Config(ctx, e, nil)
	switch {
	case errors.Is(err, zk.ErrMalformed):
		r.log.Error("settings cannot be read; they are as if there were none", "of", string(e), "err", err)
		set = nil
	case err != nil:
		return fmt.Errorf("settings of %s: %w", e, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if broker {
		r.setDefaults(id, set)
	} else {
		r.setQuota(client, set)
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
	r.throttle()
	for _, t := range r.image.Topics {
		t.shown = nil
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
func (r *Region) setTopic(name string, set topicSettings) {
	t, ok := r.image.Topics[name]
	if !ok {
		return
	}
	t.read = true
	if maps.Equal(t.Config, set.config) && maps.Equal(t.Own.Settings, set.own.Settings) && t.Own.ID == set.own.ID && t.Own.Device == set.own.Device {
		return
	}
	t.Config, t.Own, t.shown, r.unsaved = set.config, set.own, nil, true
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
		if err == nil {
			err = r.readTopics(ctx, *readerOf(s), r.unread())
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
		case <-r.unreadLeft:
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
