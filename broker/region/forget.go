package region

import (
	"context"
	"maps"
	"slices"

	"github.com/headwater/headwater/broker/zk"
)

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
	for _, name := range r.forgetTopics(before, topics) {
		r.host.TopicDeleted(name)
	}
	return nil
}

// forgetTopics forgets those of before that do not exist, unless the controller has told
// more of them since. It returns the forgotten ones.
func (r *Region) forgetTopics(before map[string]toldOf, exist []string) (deleted []string) {
	for _, name := range exist {
		delete(before, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, was := range before {
		if t, ok := r.image.Topics[name]; ok && t == was.of && t.told == was.times {
			delete(r.image.Topics, name)
			deleted, r.unsaved = append(deleted, name), true
		}
	}
	r.publish()
	return deleted
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
