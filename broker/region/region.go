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
	// Stop has the partition serve nobody any more; its records stay.
	Stop(name string, index int32) error
	// TopicID is the topic that the partition on disk is of, if there is one.
	TopicID(name string, index int32) (topic.ID, bool)
	// Delete removes the partition and its records. One that is not there is no
	// error.
	Delete(name string, index int32) error
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
	joined   atomic.Pointer[membership] // nil while there is no session

	mu        sync.Mutex // held for a whole order, disk included; guards all below
	image     image
	replicas  map[cluster.TopicPartition]*replica
	published chan struct{} // closed, and replaced, when a snapshot is published
	unsaved   bool          // the document on disk is older than the image
}

// replica is a partition that this broker has, or has been told to have.
type replica struct {
	order    Order
	restored bool // the order is from before the start: the controller may repeat it
	open     bool
}

// New returns a Region that knows nothing until Start.
func New(cfg Config, store cluster.Store, host Host, identity Identity, controller Controller, log *slog.Logger) *Region {
	r := &Region{
		cfg: cfg, store: store, host: host, identity: identity, controller: controller, log: log,
		replicas: map[cluster.TopicPartition]*replica{}, published: make(chan struct{}),
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
	r.mu.Lock()
	defer r.mu.Unlock()
	image, orders, err := r.load()
	if err != nil {
		return err
	}
	r.image = image
	for _, o := range orders {
		r.replicas[o.TopicPartition] = &replica{order: o, restored: true}
	}
	hosted, err := r.host.Hosted()
	if err != nil {
		return err
	}
	r.reopen(hosted)
	r.publish()
	return nil
}

// reopen opens what is on disk and, as far as it is known, belongs to the region.
func (r *Region) reopen(hosted []cluster.Hosted) {
	var open []*replica
	for _, h := range hosted {
		tp := cluster.TopicPartition{Topic: h.Topic, Index: h.Index}
		known, ok := r.replicas[tp]
		switch {
		case !ok:
			r.log.Warn("partition on disk that the region has given no order for; not served until it does", "partition", tp.String())
		case known.order.ID != (topic.ID{}) && known.order.ID != h.ID:
			r.log.Warn("partition on disk is of an earlier topic of that name; not served", "partition", tp.String())
		default:
			open = append(open, known)
		}
	}
	each(open, func(known *replica) {
		o := known.order
		if _, err := r.host.Open(o.Topic, o.Index, o.ID, r.settings(o.Topic)); err != nil {
			r.log.Error("partition not opened; it is offline", "partition", o.String(), "err", err)
			return
		}
		known.open = true
	})
	for _, known := range open {
		if known.open && known.order.alone(r.cfg.Self.ID) {
			r.apply(known.order)
		}
	}
}

// alone reports whether nobody but self can lead the partition.
func (o Order) alone(self int32) bool {
	return o.Leader == self && len(o.Replicas) == 1 && o.Replicas[0] == self
}

// apply hands an order to the partition.
func (r *Region) apply(o Order) error {
	leader := r.image.Brokers[o.Leader]
	if err := r.host.Apply(o, leader); err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	return nil
}

// openersAtATime is how many partitions are opened at the same time.
const openersAtATime = 16

// each does do for every one of all, several at a time.
func each[T any](all []T, do func(T)) {
	var workers sync.WaitGroup
	work := make(chan T)
	for range min(openersAtATime, len(all)) {
		workers.Go(func() {
			for one := range work {
				do(one)
			}
		})
	}
	for _, one := range all {
		work <- one
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
	defer r.mu.Unlock()
	if !r.unsaved {
		return nil
	}
	return r.save()
}
