package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/zk"
)

const self int32 = 1

var (
	press = topic.ID{1}
	other = topic.ID{2}
	tp0   = cluster.TopicPartition{Topic: "press", Index: 0}
)

// fakeHost remembers what it was told, and has a disk of its own.
type fakeHost struct {
	mu        sync.Mutex
	disk      map[cluster.TopicPartition]topic.ID
	lastEpoch int32            // of every log
	opened    map[string]int   // how often
	minISR    map[string]int   // as opened or configured last
	said      []string         // Apply, Follow, Stop, Delete and SetAside, in their order
	fail      map[string]error // by what is called
	opening   func(string)     // called by Open, without a lock
}

var errHost = errors.New("the disk has failed")

func newFakeHost() *fakeHost {
	return &fakeHost{disk: map[cluster.TopicPartition]topic.ID{}, lastEpoch: -1, opened: map[string]int{}, minISR: map[string]int{}, fail: map[string]error{}}
}

func (h *fakeHost) say(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, fmt.Sprintf(format, args...))
}

// heard returns what was said since it was called last, sorted.
func (h *fakeHost) heard() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	said := h.said
	h.said = nil
	slices.Sort(said)
	return said
}

func (h *fakeHost) Hosted() (all []cluster.Hosted, err error) {
	for tp, id := range h.disk {
		all = append(all, cluster.Hosted{Topic: tp.Topic, Index: tp.Index, ID: id})
	}
	return all, nil
}

func (h *fakeHost) Open(name string, index int32, id topic.ID, s topic.Settings) (int32, error) {
	tp := cluster.TopicPartition{Topic: name, Index: index}
	if h.opening != nil {
		h.opening(tp.String())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fail["open"]; err != nil {
		return -1, err
	}
	if was, ok := h.disk[tp]; ok && was != id {
		return -1, fmt.Errorf("%s is of %v, not %v", tp, was, id)
	}
	h.disk[tp], h.minISR[tp.String()] = id, s.MinISR
	h.opened[tp.String()]++
	return h.lastEpoch, nil
}

func (h *fakeHost) Apply(o Order, leader cluster.Broker) error {
	if err := h.fail["apply"]; err != nil {
		return err
	}
	h.say("%s: %d at %q leads in %d", o, o.Leader, leader.Host, o.LeaderEpoch)
	return nil
}

func (h *fakeHost) Follow(o Order, leader cluster.Broker) {
	h.say("%s: follow %d at %q in %d", o, leader.ID, leader.Host, o.LeaderEpoch)
}

func (h *fakeHost) Configure(name string, index int32, s topic.Settings) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.minISR[cluster.TopicPartition{Topic: name, Index: index}.String()] = s.MinISR
}

func (h *fakeHost) Throttle(bytesPerSecond int64, set bool) {
	if set {
		h.say("throttle: %d bytes a second", bytesPerSecond)
	} else if bytesPerSecond != 0 {
		h.say("throttle: %d, and none is set", bytesPerSecond)
	}
}

func (h *fakeHost) TopicDeleted(name string) { h.say("%s: deleted", name) }

func (h *fakeHost) Stop(name string, index int32) error {
	h.say("%s-%d: stop", name, index)
	return nil
}

func (h *fakeHost) TopicID(name string, index int32) (topic.ID, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id, ok := h.disk[cluster.TopicPartition{Topic: name, Index: index}]
	return id, ok
}

func (h *fakeHost) Delete(name string, index int32) error {
	if err := h.fail["delete"]; err != nil {
		return err
	}
	h.say("%s-%d: delete", name, index)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.disk, cluster.TopicPartition{Topic: name, Index: index})
	return nil
}

func (h *fakeHost) SetAside(name string, index int32) (string, error) {
	h.say("%s-%d: set aside", name, index)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.disk, cluster.TopicPartition{Topic: name, Index: index})
	return "aside", nil
}

// memStore is a disk for the document.
type memStore struct {
	mu    sync.Mutex
	doc   []byte
	fail  error
	saves int
	aside int
}

func (s *memStore) Load() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doc, nil
}

func (s *memStore) Save(doc []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.doc = doc
	s.saves++
	return nil
}

func (s *memStore) SetAside() error {
	s.aside++
	s.doc = nil
	return nil
}

// fakeIdentity is a data directory's.
type fakeIdentity struct {
	cluster string
	broker  int32
}

func (i *fakeIdentity) ClusterID() string { return i.cluster }
func (i *fakeIdentity) BrokerID() int32   { return i.broker }
func (i *fakeIdentity) Adopt(cluster string, broker int32) error {
	i.cluster, i.broker = cluster, broker
	return nil
}

// noController is never the controller: it waits for the end of its term.
type noController struct{}

func (noController) Run(ctx context.Context, _ int32, _ controller.Store) error {
	<-ctx.Done()
	return ctx.Err()
}

func (noController) ElectLeaders(context.Context, []cluster.TopicPartition, bool) (map[cluster.TopicPartition]error, error) {
	return nil, cluster.ErrNotController
}

func (noController) Reassign(context.Context, map[cluster.TopicPartition][]int32) (map[cluster.TopicPartition]error, error) {
	return nil, cluster.ErrNotController
}

func (noController) Reassignments(context.Context, []cluster.TopicPartition) (map[cluster.TopicPartition]cluster.Assignment, error) {
	return nil, cluster.ErrNotController
}
func (noController) UncleanChanged(context.Context, string) error { return nil }

// world is a broker without a network.
type world struct {
	*Region
	host     *fakeHost
	disk     *memStore
	identity *fakeIdentity
	settings map[string]map[string]string // of topics, in ZooKeeper
	lost     bool                         // nothing can be read there
	reading  func()                       // called for each read, without a lock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{host: newFakeHost(), disk: &memStore{}, identity: &fakeIdentity{"cluster", self}, settings: map[string]map[string]string{}}
	w.start(t)
	return w
}

func config() Config {
	return Config{
		Self: cluster.Broker{ID: self, Host: "a", Port: 1, Rack: "east"}, Listener: "PLAINTEXT", Defaults: topic.Defaults(),
		DefaultPartitions: 1, DefaultReplicationFactor: 1, MaxPartitions: 100,
	}
}

// start is a start of the process: what is in memory is new.
func (w *world) start(t *testing.T) {
	t.Helper()
	w.Region = New(config(), w.disk, w.host, w.identity, noController{}, slog.New(slog.DiscardHandler))
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	read := settingsReader(func(_ context.Context, name string) (topicSettings, error) {
		if w.reading != nil {
			w.reading()
		}
		if w.lost {
			return topicSettings{}, zk.ErrAway
		}
		return topicSettings{config: w.settings[name], own: zk.Own{Device: -1}}, nil
	})
	w.reads.Store(&read)
}

// restart is a crash and a start.
func (w *world) restart(t *testing.T) {
	t.Helper()
	if err := w.saveIfChanged(); err != nil { // RunSaver has, by then
		t.Fatal(err)
	}
	w.host.heard()
	w.start(t)
}

// order is of press-0, which three brokers have.
func order(id topic.ID, leader, leaderEpoch int32) Order {
	return Order{TopicPartition: tp0, ID: id, Leader: leader, LeaderEpoch: leaderEpoch, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}}
}

func alone(leaderEpoch int32) Order {
	o := order(press, self, leaderEpoch)
	o.Replicas, o.ISR = []int32{self}, []int32{self}
	return o
}

var brokers = []cluster.Broker{{ID: 1, Host: "a", Port: 1}, {ID: 2, Host: "b", Port: 1}, {ID: 3, Host: "c", Port: 1}}

// told is news of press-0 as o has it.
func told(o Order) Update {
	return Update{Brokers: brokers, Topics: []UpdatedTopic{{Name: o.Topic, ID: o.ID, Partitions: map[int32]cluster.Partition{
		o.Index: {Leader: o.Leader, LeaderEpoch: o.LeaderEpoch, Replicas: o.Replicas, ISR: o.ISR},
	}}}}
}

// must gives an order that has to be done.
func (w *world) must(t *testing.T, f From, o Order) {
	t.Helper()
	results, err := w.LeaderAndISR(f, []Order{o}, brokers)
	if err = errors.Join(err, results[o.TopicPartition]); err != nil {
		t.Fatal(err)
	}
}

func (w *world) mustKnow(t *testing.T, f From, u Update) {
	t.Helper()
	if err := w.UpdateMetadata(f, u); err != nil {
		t.Fatal(err)
	}
}

// said is what the host must have been told since it was asked last.
func (w *world) said(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := w.host.heard(); !slices.Equal(got, want) {
		t.Errorf("the host was told %q, want %q", got, want)
	}
}

func from(controllerEpoch int32, brokerEpoch int64) From {
	return From{ControllerID: 2, ControllerEpoch: controllerEpoch, BrokerEpoch: brokerEpoch}
}
