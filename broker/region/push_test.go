package region

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/zk"
)

// A follower follows its leader to another address, though the leader epoch is the
// same; whichever request tells of it.
func TestLeaderMoves(t *testing.T) {
	moved := []cluster.Broker{brokers[0], {ID: 2, Host: "b2", Port: 1}, brokers[2]}
	w := newWorld(t)
	w.must(t, from(5, 70), order(press, 2, 7))
	w.mustKnow(t, from(5, 70), told(order(press, 2, 7)))
	w.said(t, `press-0: 2 at "b" leads in 7`)

	w.mustKnow(t, from(5, 70), Update{Brokers: moved})
	w.said(t, `press-0: follow 2 at "b2" in 7`)
	w.mustKnow(t, from(5, 70), Update{Brokers: moved})
	w.said(t)

	second := order(press, 2, 3)
	second.Index = 1
	if _, err := w.LeaderAndISR(from(5, 70), []Order{second}, brokers); err != nil {
		t.Fatal(err)
	}
	w.said(t, `press-0: follow 2 at "b" in 7`, `press-1: 2 at "b" leads in 3`)
}

// The rate of throttled replicas is the host's once it was set, and after a start too;
// what is set for this broker counts before what is set for all.
func TestThrottle(t *testing.T) {
	w := newWorld(t)
	set := func(id int32, set map[string]string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.setDefaults(id, set)
		w.unsaved = true
	}
	set(-1, map[string]string{cluster.FollowerRate: "1000", "log.retention.ms": "1"})
	set(self, map[string]string{cluster.FollowerRate: "2000"})
	w.said(t, "throttle: 1000 bytes a second", "throttle: 2000 bytes a second")
	set(self, map[string]string{cluster.FollowerRate: "2000", cluster.LeaderRate: "7"})
	w.said(t)
	if err := w.saveIfChanged(); err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	w.said(t, "throttle: 2000 bytes a second")
	set(self, map[string]string{cluster.FollowerRate: "much"})
	w.said(t, "throttle: 1000 bytes a second")
}

// A leader whose address nobody has told is followed when someone does.
func TestLeaderToldLater(t *testing.T) {
	w := newWorld(t)
	if _, err := w.LeaderAndISR(from(5, 70), []Order{order(press, 2, 7)}, nil); err != nil {
		t.Fatal(err)
	}
	w.said(t, `press-0: 2 at "" leads in 7`)
	w.mustKnow(t, from(5, 70), told(order(press, 2, 7)))
	w.said(t, `press-0: follow 2 at "b" in 7`)
}

// What a broker led alone, and was moved to others while it was away, is not led by it
// any more once it hears of that.
func TestMovedWhileAway(t *testing.T) {
	w := newWorld(t)
	w.must(t, from(5, 70), alone(7))
	w.restart(t)
	w.said(t, `press-0: 1 at "a" leads in 7`)
	gone := order(press, 2, 9)
	gone.Replicas, gone.ISR = []int32{2, 3}, []int32{2, 3}
	w.mustKnow(t, from(6, 80), told(gone))
	w.said(t, "press-0: stop")
	w.mustKnow(t, from(6, 80), told(gone))
	w.said(t)
}

// The settings of a topic are known before it is led, and before anyone is told of it:
// records are not taken under others.
func TestSettingsComeFirst(t *testing.T) {
	w := newWorld(t)
	w.settings["press"] = map[string]string{"min.insync.replicas": "2"}
	w.must(t, from(5, 70), order(press, self, 0))
	if got := w.host.minISR["press-0"]; got != 2 {
		t.Errorf("opened with min.insync.replicas %d", got)
	}
	w.reading = func() {
		if _, ok := w.Snapshot().Topic("oven"); ok {
			t.Error("shown before its settings are known")
		}
	}
	w.mustKnow(t, from(5, 70), told(order(press, self, 0)))
	w.mustKnow(t, from(5, 70), told(Order{TopicPartition: cluster.TopicPartition{Topic: "oven"}, ID: other, Leader: 2, Replicas: []int32{2}}))
	for _, name := range []string{"press", "oven"} {
		if _, ok := w.Snapshot().Topic(name); !ok {
			t.Errorf("%s is not shown", name)
		}
	}

	w = newWorld(t)
	w.lost = true
	w.must(t, from(5, 70), order(press, self, 0))
	w.mustKnow(t, from(5, 70), told(order(press, self, 0)))
	if _, ok := w.Snapshot().Topic("press"); ok {
		t.Error("shown though its settings are not known")
	}
	w.lost = false
	if err := w.readTopics(t.Context(), *w.reads.Load(), w.unread()); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.Snapshot().Topic("press"); !ok || len(w.unread()) != 0 {
		t.Error("not shown once they are")
	}
}

// News of some partitions leaves the others; a partition between that nobody told of
// has no leader; a topic without partitions is gone; one of another id is another.
func TestUpdate(t *testing.T) {
	w := newWorld(t)
	at := func(index, leader int32, id topic.ID) Update {
		return Update{Topics: []UpdatedTopic{{Name: "press", ID: id, Partitions: map[int32]cluster.Partition{index: {Leader: leader, LeaderEpoch: 1, Replicas: []int32{2}}}}}}
	}
	leaders := func(want ...int32) {
		t.Helper()
		got, _ := w.Snapshot().Topic("press")
		if got == nil && len(want) == 0 {
			return
		}
		if got == nil || len(got.Partitions) != len(want) {
			t.Fatalf("%+v, want %v", got, want)
		}
		for i, p := range got.Partitions {
			if p.Leader != want[i] {
				t.Errorf("partition %d led by %d, want %d", i, p.Leader, want[i])
			}
		}
	}
	w.mustKnow(t, from(5, 70), at(2, 3, press))
	leaders(-1, -1, 3)
	w.mustKnow(t, from(5, 70), at(0, 2, topic.ID{}))
	leaders(2, -1, 3)
	w.mustKnow(t, from(5, 70), at(2, deletedLeader, press))
	leaders(2)
	heard := func(want ...string) {
		t.Helper()
		if got := w.host.heard(); !slices.Equal(got, want) {
			t.Errorf("the host has heard %q, want %q", got, want)
		}
	}
	heard()
	w.mustKnow(t, from(5, 70), at(1, 3, other))
	leaders(-1, 3)
	heard("press: deleted")
	w.mustKnow(t, from(5, 70), at(1, deletedLeader, other))
	leaders()
	heard("press: deleted")
	w.mustKnow(t, from(5, 70), at(1, deletedLeader, other))
	heard()
	for _, u := range []Update{at(-1, 2, press), at(maxPartitions, 2, press)} {
		if err := w.UpdateMetadata(from(5, 70), u); !errors.Is(err, cluster.ErrUnknownPartition) {
			t.Errorf("got %v", err)
		}
	}
}

// What was known is known after a restart, and who else is there.
func TestRemembered(t *testing.T) {
	w := newWorld(t)
	w.settings["press"] = map[string]string{"retention.ms": "5000"}
	w.mustKnow(t, from(5, 70), told(order(press, 2, 7)))
	w.noteSession(11)
	w.restart(t)
	got, ok := w.Snapshot().Topic("press")
	if !ok || got.ID != press || got.Overrides["retention.ms"] != "5000" || got.Partitions[0].Leader != 2 {
		t.Errorf("%+v", got)
	}
	if b, ok := w.Snapshot().Broker(3); !ok || b.Host != "c" {
		t.Errorf("broker 3: %+v", b)
	}
	if !w.OwnSession(11) || w.OwnSession(12) {
		t.Error("sessions are not as they were")
	}
	for id := range int64(20) {
		w.noteSession(100 + id)
	}
	if w.OwnSession(11) || len(w.sessions) != maxSessions {
		t.Errorf("sessions %v", w.sessions)
	}
}

// A document that is damaged costs nothing that the controller does not say again; and
// does not make the data another cluster's or another broker's.
func TestDamagedDocument(t *testing.T) {
	w := newWorld(t)
	w.mustKnow(t, from(5, 70), told(order(press, 2, 7)))
	w.restart(t)
	w.disk.doc[len(w.disk.doc)/2] ^= 1
	if id, joined, err := Stored(w.disk, w.identity); id != self || !joined || err != nil {
		t.Errorf("stored id %d, %v, %v", id, joined, err)
	}
	w.start(t)
	if w.disk.aside != 1 || w.image.ClusterID != "cluster" {
		t.Errorf("set aside %d times, cluster %q", w.disk.aside, w.image.ClusterID)
	}
	w.restart(t)
	if w.disk.aside != 1 || w.image.ClusterID != "cluster" {
		t.Errorf("then set aside %d times, cluster %q", w.disk.aside, w.image.ClusterID)
	}
}

// A data directory of another broker of the region is refused.
func TestOtherBrokersDocument(t *testing.T) {
	w := newWorld(t)
	w.mustKnow(t, from(5, 70), told(order(press, 2, 7)))
	w.restart(t)
	cfg := config()
	cfg.Self.ID = 9
	if err := New(cfg, w.disk, w.host, w.identity, noController{}, w.log).Start(); !errors.Is(err, ErrOtherBroker) {
		t.Errorf("got %v", err)
	}
	if id, joined, err := Stored(&memStore{}, w.identity); joined || err != nil {
		t.Errorf("a directory that has joined nothing: %d, %v", id, err)
	}
}

// At the beginning of a session topics are forgotten that are not there any more; not
// those that the controller has told of after the list was read.
func TestForgetTopics(t *testing.T) {
	w := newWorld(t)
	news := func(name string, id topic.ID) {
		o := order(id, 2, 7)
		o.Topic = name
		w.mustKnow(t, from(5, 70), told(o))
	}
	for i, name := range []string{"stays", "goes", "told", "anew"} {
		news(name, topic.ID{byte(10 + i)})
	}
	before := w.told()
	news("told", topic.ID{12})
	news("anew", topic.ID{20})
	news("new", topic.ID{21})
	if got := w.forgetTopics(before, []string{"stays"}); !slices.Equal(got, []string{"goes"}) {
		t.Errorf("forgotten are %q", got)
	}
	got := []string{}
	for _, t := range w.Snapshot().Topics() {
		got = append(got, t.Name)
	}
	if want := []string{"anew", "new", "stays", "told"}; !slices.Equal(got, want) {
		t.Errorf("known are %q, want %q", got, want)
	}
}

// Settings that someone wrote by hand and that cannot be read are none, and no trouble.
func TestMalformedSettings(t *testing.T) {
	w := newWorld(t)
	read := settingsReader(func(context.Context, string) (topicSettings, error) {
		return topicSettings{}, fmt.Errorf("/config/topics/press: %w", zk.ErrMalformed)
	})
	w.reads.Store(&read)
	w.mustKnow(t, from(5, 70), told(order(press, 2, 7)))
	if _, ok := w.Snapshot().Topic("press"); !ok {
		t.Error("the topic is not shown")
	}
}

// What entities had that are not there any more is taken back.
func TestForgetSettings(t *testing.T) {
	w := newWorld(t)
	w.mustKnow(t, from(5, 70), told(order(press, 2, 7)))
	w.mu.Lock()
	w.setDefaults(-1, map[string]string{"log.retention.ms": "7000"})
	w.setDefaults(self, map[string]string{"log.segment.bytes": "2097152"})
	w.setQuota("oven", map[string]string{"producer_byte_rate": "5.0"})
	w.setQuota("press", map[string]string{"producer_byte_rate": "6.0"})
	w.mu.Unlock()
	w.forget("clients", []zk.Entity{zk.QuotaEntity("", "press")})
	w.forget("brokers", []zk.Entity{zk.BrokerEntity(self)})
	s := w.Snapshot()
	got, _ := s.Topic("press")
	if len(s.Quotas.Clients) != 1 || s.Quotas.Clients["press"][0] != 6 || got.Settings.Retention == 7*time.Second || got.Settings.SegmentBytes != 2<<20 {
		t.Errorf("quotas %+v, settings %+v", s.Quotas, got.Settings)
	}
}
