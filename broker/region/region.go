// Package region is what a broker is that has joined others through ZooKeeper: it
// registers, does what the controller orders, knows the cluster as the controller
// told it last, and stands for election itself if it may.
//
// A Region is the cluster.Coordinator of such a broker. The controller's requests
// come in by its methods, from the goroutines of connections; Run has the goroutines
// of the session. What it knows is kept in a document on disk, so that the broker
// also starts, and serves what it can, while ZooKeeper is away.
package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/zk"
)

// ErrAway is returned for changes of the cluster while there is no session with
// ZooKeeper, or when its answer did not come.
var ErrAway = errors.New("ZooKeeper is not reachable: nothing can be changed in the region now")

// away says in the region's words that ZooKeeper did not do what it was asked.
func away(err error) error {
	if errors.Is(err, zk.ErrAway) || errors.Is(err, zk.ErrUncertain) || errors.Is(err, zk.ErrOver) {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	return err
}

// Config is what a Region starts from.
type Config struct {
	Self     cluster.Broker // as clients and other brokers are told of it
	Listener string         // the name of its listener, the same at all brokers
	Gateway  bool           // never the controller, and given no replicas of others' topics

	Defaults                 topic.Settings // of topics, as configured here
	DefaultPartitions        int32
	DefaultReplicationFactor int16
	MaxPartitions            int // that this broker hosts
	MaxDeviceTopics          int // that devices' messages cause; 0 is no limit
}

// Order is what the controller says of a partition that this broker has a replica of.
type Order struct {
	cluster.TopicPartition
	ID              topic.ID // zero: the controller knows none
	ControllerEpoch int32
	Leader          int32 // -1: none
	LeaderEpoch     int32
	PartitionEpoch  int32
	Replicas        []int32
	ISR             []int32
	Adding          []int32
	Removing        []int32
	New             bool // the partition was made just now
	Recovering      bool // the leader was elected from outside the ISR
}

// Host is where the partitions of this broker live.
type Host interface {
	// Hosted lists the partitions that are on this broker's disk.
	Hosted() ([]cluster.Hosted, error)
	// Open makes the partition's log ready, creating it when it is not there. It is
	// called from several goroutines, for another partition from each.
	Open(name string, index int32, id topic.ID, s topic.Settings) (lastEpoch int32, err error)
	// Apply makes the open partition a leader or a follower of leader, which is the
	// zero Broker when its address is not known.
	Apply(o Order, leader cluster.Broker) error
	// Configure changes the settings of the partition, if it is open.
	Configure(name string, index int32, s topic.Settings)
	// Throttle has throttled replicas follow at a rate that was set for a while, in
	// bytes a second; without one, at the one that the broker was started with. It must
	// not block.
	Throttle(bytesPerSecond int64, set bool)
	// Stop has the partition serve nobody any more; its records stay.
	Stop(name string, index int32) error
	// TopicID is the topic that the partition on disk is of, if there is one.
	TopicID(name string, index int32) (topic.ID, bool)
	// Delete removes the partition and its records. One that is not there is no
	// error.
	Delete(name string, index int32) error
	// SetAside puts the records of the partition, which is not open, where they are in
	// nobody's way, and says where.
	SetAside(name string, index int32) (path string, err error)
	// TopicDeleted is called for a topic that the region has not got any more, be it that
	// one was made anew under its name. It must not block.
	TopicDeleted(name string)
	// Follow has a partition that follows fetch from leader, whose address is another
	// one than before.
	Follow(o Order, leader cluster.Broker)
}

// Region implements cluster.Coordinator.
type Region struct {
	cfg        Config
	store      cluster.Store
	host       Host
	identity   Identity
	controller Controller
	log        *slog.Logger

	snapshot atomic.Pointer[cluster.Snapshot]
	joined   atomic.Pointer[membership]     // nil while there is no session
	reads    atomic.Pointer[settingsReader] // nil while nothing can be read

	unreadLeft chan struct{} // there are topics whose settings could not be read

	// orders is held for a whole request of the controller, disk and network included:
	// they are done one after the other. It is taken before the other locks.
	orders sync.Mutex
	saving sync.Mutex // held while the document is written; taken before mu

	mu          sync.Mutex // never held across disk or network; guards all below
	image       image
	replicas    map[cluster.TopicPartition]*replica // what is in it is changed with orders held too, and so read with either
	brokerEpoch int64                               // the latest that is known to be this broker's, or was
	toldIn      int64                               // the broker epoch in which the controller has told who leads, the latest
	published   chan struct{}                       // closed, and replaced, when a snapshot is published
	unsaved     bool                                // the document on disk is older than the image
	throttled   *followerRate                       // nil: the host was told nothing yet
	sessions    []int64                             // with which this broker has registered, the latest last
}

// replica is a partition that this broker has, or has been told to have.
type replica struct {
	order    Order
	restored bool // the order is from before the start, and none has come since
	repeat   bool // the order was not done by this process, or not to its end: the controller may repeat it
	open     bool
	stopped  bool // it serves nobody until the next order
	alone    bool // the document on disk says that nobody else can lead it

	replaces topic.ID // of the topic that the order before was about, if it was another
}

// New returns a Region that knows nothing until Start.
func New(cfg Config, store cluster.Store, host Host, identity Identity, controller Controller, log *slog.Logger) *Region {
	r := &Region{
		cfg: cfg, store: store, host: host, identity: identity, controller: controller, log: log,
		replicas: map[cluster.TopicPartition]*replica{}, published: make(chan struct{}), brokerEpoch: -1, toldIn: -1,
		unreadLeft: make(chan struct{}, 1),
	}
	r.image = emptyImage()
	r.publish()
	return r
}

// Snapshot implements cluster.Coordinator.
func (r *Region) Snapshot() *cluster.Snapshot { return r.snapshot.Load() }

// Start reads what was known at the end of the last run, and opens the partitions
// that are on disk. Those that no other broker has a replica of are led at once:
// nobody else can have been elected. The others wait for the controller.
func (r *Region) Start() error {
	r.orders.Lock()
	defer r.orders.Unlock()
	if err := r.restore(); err != nil {
		return err
	}
	// Of a damaged one: the next start must know that there was one, too.
	if err := r.saveIfChanged(); err != nil {
		r.log.Error("what is known of the region was not saved", "err", err)
	}
	hosted, err := r.host.Hosted()
	if err != nil {
		return err
	}
	r.reopen(hosted)
	return nil
}

// restore makes what was saved what is known.
func (r *Region) restore() error {
	image, doc, err := r.load()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.image = image
	if doc != nil {
		for _, o := range doc.Orders {
			r.replicas[o.TopicPartition] = &replica{order: o, restored: true, repeat: true, alone: o.alone(r.cfg.Self.ID)}
		}
		r.sessions = doc.Sessions
	}
	r.throttle()
	r.publish()
	return nil
}

// reopen opens what is on disk and, as far as it is known, belongs to the region.
// orders is held.
func (r *Region) reopen(hosted []cluster.Hosted) {
	var open []*replica
	for _, h := range hosted {
		tp := cluster.TopicPartition{Topic: h.Topic, Index: h.Index}
		known, ok := r.replicas[tp]
		switch {
		case !ok:
			r.log.Warn("partition on disk that the region has given no order for; not served until it does", "partition", tp.String())
		case differ(known.order.ID, h.ID):
			r.log.Warn("partition on disk is of an earlier topic of that name; not served", "partition", tp.String())
		default:
			open = append(open, known)
		}
	}
	each(len(open), func(i int) {
		known := open[i]
		if err := r.open(known); err != nil || !known.order.alone(r.cfg.Self.ID) {
			return
		}
		if err := r.apply(known); err != nil {
			r.log.Error("partition not led", "partition", known.order.String(), "err", err)
		}
	})
}

// differ reports whether two ids are of different topics. What is made by brokers
// that know no ids gets one later.
func differ(a, b topic.ID) bool { return a != b && a != (topic.ID{}) && b != (topic.ID{}) }

// alone reports whether nobody but self can lead the partition.
func (o Order) alone(self int32) bool {
	return o.Leader == self && len(o.Replicas) == 1 && o.Replicas[0] == self
}

// apply hands its order to a partition that is open. orders is held.
func (r *Region) apply(known *replica) error {
	r.mu.Lock()
	leader := r.image.Brokers[known.order.Leader]
	r.mu.Unlock()
	if err := r.host.Apply(known.order, leader); err != nil {
		return fmt.Errorf("%s: %w", known.order, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known.stopped = false
	return nil
}

// openersAtATime is how many partitions are opened at the same time.
const openersAtATime = 16

// each does do for 0 to n-1, several at a time.
func each(n int, do func(i int)) {
	var workers sync.WaitGroup
	work := make(chan int)
	for range min(openersAtATime, n) {
		workers.Go(func() {
			for i := range work {
				do(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	workers.Wait()
}

// saveEvery is how often what changed is saved that need not be saved at once.
const saveEvery = 2 * time.Second

// RunSaver keeps the document on disk near what is known, until ctx is done.
func (r *Region) RunSaver(ctx context.Context) error {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return r.saveIfChanged()
		case <-tick.C:
			if err := r.saveIfChanged(); err != nil {
				r.log.Error("what is known of the region was not saved", "err", err)
			}
		}
	}
}

func (r *Region) saveIfChanged() error {
	r.mu.Lock()
	unsaved := r.unsaved
	r.mu.Unlock()
	if !unsaved {
		return nil
	}
	return r.save()
}
