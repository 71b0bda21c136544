package cluster

import (
	"context"
	"fmt"
	"maps"

	"github.com/headwater/headwater/broker/topic"
)

// AlterTopic implements Coordinator. The list has the settings before the
// partitions have them, so that a start finds those that were acknowledged.
func (s *Solo) AlterTopic(_ context.Context, name string, a Alteration) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	found := s.state.topic(name)
	if found == nil {
		return fmt.Errorf("%w: %.60q", ErrUnknownTopic, name)
	}
	t := *found
	overrides, changed, err := a.Apply(t.Overrides, s.defaults)
	if err != nil || !changed || a.ValidateOnly {
		return err
	}
	t.Overrides = overrides
	if err := s.commit(s.state.replacing(t)); err != nil {
		return err
	}
	s.configure(t)
	s.publish()
	s.log.Info("topic settings changed", "topic", t.Name, "settings", t.Overrides)
	return nil
}

// AlterDefaults implements Coordinator. There is one broker, yet what is set for
// all and what is set for it stand apart, since clients remove each on its own.
func (s *Solo) AlterDefaults(_ context.Context, of Scope, a Alteration) error {
	for _, c := range a.Rates {
		if c.Op != topic.OpDelete {
			return fmt.Errorf("%w: %s", ErrNoRates, c.Name)
		}
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	next := s.state
	set := &next.Defaults.AllBrokers
	if of == ThisBroker {
		set = &next.Defaults.ThisBroker
	}
	altered, changed, err := a.Apply(*set, s.cfg.Defaults)
	if err != nil || !changed || a.ValidateOnly {
		return err
	}
	*set = altered
	if err := s.commit(next); err != nil {
		return err
	}
	for _, t := range s.state.Topics {
		s.configure(t)
	}
	s.publish()
	s.log.Info("default topic settings changed", "allBrokers", next.Defaults.AllBrokers, "thisBroker", next.Defaults.ThisBroker)
	return nil
}

// Apply returns what a makes of the settings that were set, over those that are
// inherited, and whether that is something else.
func (a Alteration) Apply(set map[string]string, inherited topic.Settings) (altered map[string]string, changed bool, err error) {
	from := set
	if a.Replace {
		from = nil
	}
	if altered, err = topic.Alter(from, a.Changes, inherited); len(altered) == 0 {
		altered = nil // so that the list of topics does not mention it
	}
	return altered, !maps.Equal(altered, set), err
}

// configure tells the partitions of t which settings they have.
func (s *Solo) configure(t soloTopic) {
	settings := s.settings(t)
	for index := range t.Partitions {
		s.host.Configure(t.Name, index, settings)
	}
}

// resolve lays what was changed at run time over the configuration. What no longer
// holds, as after a downgrade, is logged and left out.
func (s *Solo) resolve(d soloDefaults) topic.Settings {
	settings := s.cfg.Defaults
	for _, set := range []map[string]string{d.AllBrokers, d.ThisBroker} {
		var err error
		if settings, err = topic.Apply(settings, set); err != nil {
			s.log.Warn("default topic settings that were changed at run time do not apply", "err", err)
		}
	}
	return settings
}
