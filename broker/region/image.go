package region

import (
	"maps"
	"slices"
	"strconv"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/zk"
)

// image is the region as it is known here.
type image struct {
	ClusterID       string
	ControllerID    int32 // -1: none is known
	ControllerEpoch int32 // of the latest controller that gave an order
	Brokers         map[int32]cluster.Broker
	Topics          map[string]*imageTopic
	AllBrokers      map[string]string // default settings that were changed at run time, by the brokers' names for them
	ThisBroker      map[string]string
	Clients         map[string]map[string]string // quotas, by client id; "<default>" for the others
}

// imageTopic is a topic, whose partitions may come to be known one by one.
type imageTopic struct {
	ID         topic.ID
	Config     map[string]string // as it was set for this topic
	Own        zk.Own            // what was set, and Kafka does not know, for the topic of an id
	Partitions map[int32]cluster.Partition

	read  bool           // the settings are what ZooKeeper has, or had
	told  int            // how many times the controller has told of it
	shown *cluster.Topic // what a Snapshot has of it; nil: it is made anew
}

// overrides are the settings that were set for the topic, by whoever.
func (t *imageTopic) overrides() map[string]string {
	if len(t.Own.Settings) == 0 || differ(t.Own.ID, t.ID) {
		return t.Config
	}
	out := maps.Clone(t.Own.Settings)
	maps.Copy(out, t.Config)
	return out
}

// device is the broker whose device has caused the topic, -1 for none.
func (t *imageTopic) device() int32 {
	if differ(t.Own.ID, t.ID) {
		return -1
	}
	return t.Own.Device
}

// shows reports whether the topic is in a Snapshot: there is something in it, and what
// its settings are is known. Nobody is to write under others.
func (t *imageTopic) shows() bool { return t.read && len(t.Partitions) > 0 }

func emptyImage() image {
	return image{
		ControllerID: -1, ControllerEpoch: -1,
		Brokers: map[int32]cluster.Broker{}, Topics: map[string]*imageTopic{}, Clients: map[string]map[string]string{},
	}
}

// topic returns the topic of that name and makes it when it is new.
func (im *image) topic(name string) *imageTopic {
	t, ok := im.Topics[name]
	if !ok {
		t = &imageTopic{Partitions: map[int32]cluster.Partition{}, Own: zk.Own{Device: -1}}
		im.Topics[name] = t
	}
	return t
}

// publish makes the image what Snapshot returns, and wakes those who wait for it.
// r.mu is held.
func (r *Region) publish() {
	defaults := r.defaults()
	s := cluster.Snapshot{
		ClusterID:    r.image.ClusterID,
		ControllerID: r.image.ControllerID,
		Defaults:     defaults,
		DefaultsFrom: cluster.Origins{Configured: r.cfg.Defaults, AllBrokers: topicNames(r.image.AllBrokers), ThisBroker: topicNames(r.image.ThisBroker)},
		Rates:        r.rates(),
		Quotas:       quotaTable(r.image.Clients),
	}
	brokers := maps.Clone(r.image.Brokers)
	if len(brokers) == 0 { // nobody has told yet: this one is there
		brokers[r.cfg.Self.ID] = r.cfg.Self
	}
	for _, id := range slices.Sorted(maps.Keys(brokers)) {
		s.Brokers = append(s.Brokers, brokers[id])
	}
	topics := make([]*cluster.Topic, 0, len(r.image.Topics))
	for name, t := range r.image.Topics {
		if !t.shows() {
			continue
		}
		if t.shown == nil {
			t.shown = r.publishedTopic(name, t, defaults)
		}
		topics = append(topics, t.shown)
	}
	r.snapshot.Store(cluster.NewSnapshot(s, topics))
	close(r.published)
	r.published = make(chan struct{})
}

// publishedTopic is t as a Snapshot shows it. A partition between others that is not
// known has no leader.
func (r *Region) publishedTopic(name string, t *imageTopic, defaults topic.Settings) *cluster.Topic {
	out := &cluster.Topic{Name: name, ID: t.ID, Settings: r.lay(defaults, t.overrides(), unfit), Overrides: t.overrides()}
	count := int32(0)
	for index := range t.Partitions {
		count = max(count, index+1)
	}
	out.Partitions = make([]cluster.Partition, count)
	for index := range out.Partitions {
		p, ok := t.Partitions[int32(index)]
		if !ok {
			p = cluster.Partition{Leader: -1, LeaderEpoch: -1}
		}
		out.Partitions[index] = p
	}
	return out
}

// defaults are the settings of topics that have none of their own.
func (r *Region) defaults() topic.Settings {
	settings := r.cfg.Defaults
	for _, set := range []map[string]string{r.image.AllBrokers, r.image.ThisBroker} {
		settings = r.lay(settings, topicNames(set), "default topic settings of the region do not apply here")
	}
	return settings
}

// settings are those that the topic has. r.mu is held.
func (r *Region) settings(name string) topic.Settings {
	settings := r.defaults()
	if t, ok := r.image.Topics[name]; ok {
		settings = r.lay(settings, t.overrides(), unfit)
	}
	return settings
}

// unfit is logged of settings that a broker of another kind may know.
const unfit = "topic has settings that do not apply here"

// settingsOf is settings for who does not hold r.mu.
func (r *Region) settingsOf(name string) topic.Settings {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settings(name)
}

// lay puts set over settings, but for what does not apply: another kind of broker
// may know settings that this one does not.
func (r *Region) lay(settings topic.Settings, set map[string]string, otherwise string) topic.Settings {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		next, err := topic.Apply(settings, map[string]string{name: set[name]})
		if err != nil {
			r.log.Debug(otherwise, "setting", name, "err", err)
			continue
		}
		settings = next
	}
	return settings
}

// topicNames are default settings by the topics' names for them; others are left
// out.
func topicNames(set map[string]string) map[string]string {
	out := make(map[string]string, len(set))
	for brokerKey, value := range set {
		if name, ok := topic.ByBrokerKey(brokerKey); ok {
			out[name] = value
		}
	}
	return out
}

func quotaTable(clients map[string]map[string]string) *quota.Table {
	t := &quota.Table{Clients: map[string]quota.Rates{}}
	for id, set := range clients {
		rates := ratesOf(set)
		switch {
		case id == zk.DefaultName:
			t.Default = rates
		case rates != quota.Rates{}:
			t.Clients[id] = rates
		}
	}
	return t
}

// ratesOf are the quotas in set that are known here, by Kafka's names for them.
func ratesOf(set map[string]string) (rates quota.Rates) {
	for name, text := range set {
		kind, ok := quota.ParseKind(name)
		rate, err := strconv.ParseFloat(text, 64) // Kafka writes doubles
		if ok && err == nil && rate >= 1 && rate < 1<<62 {
			rates[kind] = int64(rate)
		}
	}
	return rates
}
