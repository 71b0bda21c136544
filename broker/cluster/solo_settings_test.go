package cluster

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/topic"
)

func set(name, value string) topic.Change {
	return topic.Change{Name: name, Op: topic.OpSet, Value: value}
}

// A topic's settings are its partitions' and the snapshot's once AlterTopic has
// returned, and after a restart.
func TestSoloAlterTopic(t *testing.T) {
	store, host := &memStore{}, newMemHost()
	s := withPress(t, store, host)
	before, _ := s.Snapshot().Topic("press")
	check := func(when string, s *Solo, want map[string]string, retention time.Duration, bytes int64) {
		t.Helper()
		got, _ := s.Snapshot().Topic("press")
		if !maps.Equal(got.Overrides, want) || got.Settings.Retention != retention || got.Settings.RetentionBytes != bytes {
			t.Errorf("%s: %v, %+v; want %v", when, got.Overrides, got.Settings, want)
		}
		if host.settings["press-0"] != got.Settings || host.settings["press-1"] != got.Settings {
			t.Errorf("%s: the partitions have %+v and %+v, want %+v", when, host.settings["press-0"], host.settings["press-1"], got.Settings)
		}
	}
	alter := func(a Alteration) {
		t.Helper()
		if err := s.AlterTopic(t.Context(), "press", a); err != nil {
			t.Fatal(err)
		}
	}
	inherited := topic.Defaults()

	alter(Alteration{Changes: []topic.Change{set("retention.bytes", "1048576")}})
	both := map[string]string{"retention.ms": "5000", "retention.bytes": "1048576"}
	check("added", s, both, 5*time.Second, 1<<20)
	check("restarted", startSolo(t, store, host), both, 5*time.Second, 1<<20)

	alter(Alteration{Changes: []topic.Change{{Name: "retention.ms", Op: topic.OpDelete}}})
	check("deleted", s, map[string]string{"retention.bytes": "1048576"}, inherited.Retention, 1<<20)

	alter(Alteration{Changes: []topic.Change{set("retention.ms", "7000")}, Replace: true})
	check("replaced", s, map[string]string{"retention.ms": "7000"}, 7*time.Second, inherited.RetentionBytes)

	saves := store.saves
	alter(Alteration{Changes: []topic.Change{set("retention.ms", "1")}, ValidateOnly: true})
	alter(Alteration{Changes: []topic.Change{set("retention.ms", "7000")}})
	check("dry run, and no change", s, map[string]string{"retention.ms": "7000"}, 7*time.Second, inherited.RetentionBytes)
	if store.saves != saves {
		t.Errorf("the list was saved %d times for it", store.saves-saves)
	}
	if before.Overrides["retention.ms"] != "5000" || len(before.Overrides) != 1 {
		t.Errorf("an earlier snapshot shows %v", before.Overrides)
	}
}

// What is refused, or cut off before it is on the list, changes nothing.
func TestSoloAlterTopicFails(t *testing.T) {
	for name, tc := range map[string]struct {
		topic  string
		change topic.Change
		failAt int
		want   error
	}{
		"unknownTopic":   {"none", set("retention.ms", "1"), 0, ErrUnknownTopic},
		"unknownSetting": {"press", set("colour", "red"), 0, topic.ErrInvalidSetting},
		"outOfRange":     {"press", set("segment.bytes", "3"), 0, topic.ErrInvalidSetting},
		"notSaved":       {"press", set("retention.ms", "1"), 1, errCut},
	} {
		store, host := &memStore{}, newMemHost()
		s := withPress(t, store, host)
		was, doc := host.settings["press-0"], string(store.doc)
		store.saves, store.failAt = 0, tc.failAt
		if err := s.AlterTopic(t.Context(), tc.topic, Alteration{Changes: []topic.Change{tc.change}}); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		got, _ := s.Snapshot().Topic("press")
		if got.Settings != was || host.settings["press-0"] != was || string(store.doc) != doc {
			t.Errorf("%s: now %+v, the partition has %+v, the list is %s", name, got.Settings, host.settings["press-0"], store.doc)
		}
	}
}

// Defaults that are changed at run time hold for every topic that does not say
// otherwise, this broker's before all brokers', before the configuration's; and
// after a restart.
func TestSoloAlterDefaults(t *testing.T) {
	store, host := &memStore{}, newMemHost()
	s := withPress(t, store, host) // has retention.ms of its own
	if _, err := s.CreateTopic(t.Context(), NewTopic{Name: "plain", Partitions: 1, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	alter := func(of Scope, changes ...topic.Change) {
		t.Helper()
		if err := s.AlterDefaults(t.Context(), of, Alteration{Changes: changes}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, s *Solo, plain time.Duration) {
		t.Helper()
		snapshot := s.Snapshot()
		p, _ := snapshot.Topic("plain")
		press, _ := snapshot.Topic("press")
		if p.Settings.Retention != plain || host.settings["plain-0"] != p.Settings || snapshot.Defaults.Retention != plain {
			t.Errorf("%s: %v, its partition %v, the default %v; want %v", when, p.Settings.Retention, host.settings["plain-0"].Retention, snapshot.Defaults.Retention, plain)
		}
		if press.Settings.Retention != 5*time.Second || snapshot.DefaultsFrom.Configured != topic.Defaults() {
			t.Errorf("%s: the topic with a setting of its own has %v, the configuration %+v", when, press.Settings.Retention, snapshot.DefaultsFrom.Configured)
		}
	}
	alter(AllBrokers, set("retention.ms", "2000"))
	check("all", s, 2*time.Second)
	alter(ThisBroker, set("retention.ms", "3000"))
	check("this", s, 3*time.Second)
	again := startSolo(t, store, host)
	check("restarted", again, 3*time.Second)
	if from := again.Snapshot().DefaultsFrom; from.AllBrokers["retention.ms"] != "2000" || from.ThisBroker["retention.ms"] != "3000" {
		t.Errorf("restarted: %+v", from)
	}
	alter(ThisBroker, topic.Change{Name: "retention.ms", Op: topic.OpDelete})
	check("this no more", s, 2*time.Second)
	alter(AllBrokers, topic.Change{Name: "retention.ms", Op: topic.OpDelete})
	check("none", s, topic.Defaults().Retention)

	saves := store.saves
	if err := s.AlterDefaults(t.Context(), AllBrokers, Alteration{Changes: []topic.Change{set("retention.ms", "9000")}, ValidateOnly: true}); err != nil {
		t.Error(err)
	}
	if err := s.AlterDefaults(t.Context(), AllBrokers, Alteration{Changes: []topic.Change{set("retention.ms", "soon")}}); !errors.Is(err, topic.ErrInvalidSetting) {
		t.Errorf("a bad value: %v", err)
	}
	check("dry run, and refused", s, topic.Defaults().Retention)
	if store.saves != saves {
		t.Error("the list was saved for it")
	}
	if strings.Contains(string(store.doc), "defaults") {
		t.Errorf("the list still speaks of defaults: %s", store.doc)
	}
}

// A new topic is held against the defaults as they are, and its settings are laid
// over them.
func TestSoloCreateTopicOverAlteredDefaults(t *testing.T) {
	s := startSolo(t, &memStore{}, newMemHost())
	if err := s.AlterDefaults(t.Context(), ThisBroker, Alteration{Changes: []topic.Change{set("retention.ms", "3000")}}); err != nil {
		t.Fatal(err)
	}
	made, err := s.CreateTopic(t.Context(), NewTopic{Name: "new", Partitions: 1, ReplicationFactor: 1})
	if err != nil || made.Settings.Retention != 3*time.Second {
		t.Errorf("%+v, %v", made, err)
	}
}
