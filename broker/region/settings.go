package region

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/topic"
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

// forget takes away what is known of entities that have no settings any more.
func (r *Region) forget(kind string, entities []zk.Entity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clients := map[string]bool{}
	for _, e := range entities {
		if user, client, ok := e.Quota(); ok && user == "" {
			clients[client] = true
		}
	}
	switch kind {
	case "clients":
		maps.DeleteFunc(r.image.Clients, func(client string, _ map[string]string) bool { return !clients[client] })
	case "brokers":
		if !slices.Contains(entities, zk.BrokerDefaults) {
			r.setDefaults(-1, nil)
		}
		if !slices.Contains(entities, zk.BrokerEntity(r.cfg.Self.ID)) {
			r.setDefaults(r.cfg.Self.ID, nil)
		}
	}
	r.unsaved = true
	r.publish()
}

// prune forgets the topics that were deleted while there was no session. What the
// controller has told of meanwhile is newer than the list.
func (r *Region) prune(ctx context.Context, s *zk.Session) error {
	before := r.told()
	topics, err := s.Topics(ctx, nil)
	if err != nil {
		return err
	}
	r.forgetTopics(before, topics)
	return nil
}

// forgetTopics forgets those of before that do not exist, unless the controller has told
// more of them since.
func (r *Region) forgetTopics(before map[string]toldOf, exist []string) {
	for _, name := range exist {
		delete(before, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, was := range before {
		if t, ok := r.image.Topics[name]; ok && t == was.of && t.told == was.times {
			delete(r.image.Topics, name)
			r.unsaved = true
		}
	}
	r.publish()
}

// toldOf is what the controller has told of a topic, to see whether there is more.
type toldOf struct {
	of    *imageTopic
	times int
}

func (r *Region) told() map[string]toldOf {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]toldOf, len(r.image.Topics))
	for name, t := range r.image.Topics {
		out[name] = toldOf{t, t.told}
	}
	return out
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

// throttle tells the host at which rate throttled replicas are to follow, if that is
// another than before. r.mu is held.
func (r *Region) throttle() {
	rate, set := r.rates().Changed(cluster.FollowerRate)
	if now := (followerRate{rate, set}); r.throttled == nil || *r.throttled != now {
		r.throttled = &now
		r.host.Throttle(rate, set)
	}
}

// followerRate is what the host was told last.
type followerRate struct {
	bytesPerSecond int64
	set            bool
}

// rates are those that were changed. r.mu is held.
func (r *Region) rates() cluster.Rates {
	return cluster.Rates{AllBrokers: ratesIn(r.image.AllBrokers), ThisBroker: ratesIn(r.image.ThisBroker)}
}

func ratesIn(set map[string]string) map[string]string {
	out := map[string]string{}
	for _, name := range cluster.RateNames() {
		if value, ok := set[name]; ok {
			out[name] = value
		}
	}
	return out
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
