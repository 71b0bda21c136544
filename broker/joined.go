package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/peer"
	"github.com/headwater/headwater/broker/region"
	"github.com/headwater/headwater/broker/replication"
	"github.com/headwater/headwater/broker/zk"
)

// RegionConfig is how a broker joins others. The broker is alone without a
// ZooKeeper.Connect.
type RegionConfig struct {
	ZooKeeper zk.Config
	BrokerID  int32  // commitlog.AnyBroker: the data directory's, or a new one
	Listener  string // the name that all brokers' listeners have
	Rack      string
	Gateway   bool

	ReplicationFactor int16
	MaxReplicaLag     time.Duration
	ReplicaRate       int64 // bytes a second that throttled replicas fetch; 0 is no limit
	FetchBytes        int32 // of one leader's answer to this follower, but for one larger batch; 0 is Kafka's 10 MiB
	Mirror            group.MirrorConfig
}

// joined is the parts of a broker that is a member of a region.
type joined struct {
	region     *region.Region
	zookeeper  *zk.Client
	controller *controller.Controller
	fetchers   *replication.Fetchers
	isr        *replication.ISRSender
	ids        *replication.ProducerIDs
	reach      replication.Controller // the controller, wherever it is
	mirror     *group.Mirror
	partitions *partition.Set
	log        *slog.Logger
}

// idWait is how long a broker without an id waits for ZooKeeper to give it one.
const idWait = time.Minute

// join makes the parts, and opens what is on disk. Nothing goes out before run.
func join(cfg Config, self cluster.Broker, dir *commitlog.Dir, partitions *partition.Set, groups func(cluster.Coordinator) *group.Coordinator, log *slog.Logger, reg prometheus.Registerer) (*joined, *group.Coordinator, error) {
	j := &joined{partitions: partitions, log: log}
	var err error
	cfg.Region.ZooKeeper.Own = func(sessionID int64) bool { return j.region.OwnSession(sessionID) }
	if j.zookeeper, err = zk.NewClient(cfg.Region.ZooKeeper, log, reg); err != nil {
		return nil, nil, err
	}
	store := newRegionStore(dir.FS(), dir.Path())
	if self.ID, err = brokerIDFor(cfg.Region, store, dir, log); err != nil {
		return nil, nil, err
	}
	self.Rack = cfg.Region.Rack
	metrics := peer.NewMetrics(reg)
	dial := func(purpose, address string) *peer.Conn {
		c := peer.DefaultConfig("headwater-broker-"+strconv.Itoa(int(self.ID)), purpose)
		c.Metrics = metrics
		if purpose == "fetch" {
			c.RequestTimeout = fetchSilence
		}
		return peer.New(address, c)
	}
	controllerCfg := controller.DefaultConfig()
	controllerCfg.BrokerID, controllerCfg.Listener, controllerCfg.Metrics = self.ID, cfg.Region.Listener, reg
	j.controller = controller.New(controllerCfg, func(r cluster.Registration) controller.Caller {
		return dial("controller", addressOf(r, cfg.Region.Listener))
	}, log)

	host := &regionHost{host: host{partitions}, self: self.ID}
	j.region = region.New(region.Config{
		Self: self, Listener: cfg.Region.Listener, Gateway: cfg.Region.Gateway,
		Defaults: cfg.TopicDefaults, DefaultPartitions: cfg.DefaultPartitions, DefaultReplicationFactor: cfg.Region.ReplicationFactor,
		MaxPartitions: cfg.MaxPartitions, MaxDeviceTopics: cfg.MaxDeviceTopics,
	}, store, host, dir, j.controller, log)

	fetching := replication.DefaultConfig(self.ID)
	fetching.BrokerEpoch = j.region.BrokerEpoch
	if cfg.Region.FetchBytes > 0 {
		fetching.MaxBytes = cfg.Region.FetchBytes
	}
	j.fetchers = replication.New(fetching, replication.Hosted(partitions.Get), func(leader cluster.Broker) replication.Caller {
		return dial("fetch", net.JoinHostPort(leader.Host, strconv.Itoa(int(leader.Port))))
	}, log, reg)
	host.rate, host.throttled = cfg.Region.ReplicaRate, func(name string, index int32) bool {
		t, ok := j.region.Snapshot().Topic(name)
		return ok && t.Settings.FollowerThrottled.Has(index, self.ID)
	}
	j.reach = replication.Controller{Self: self.ID, Find: j.findController, Dial: func(address string) replication.Caller { return dial("isr", address) }, TakeIDs: j.region.TakeProducerIDs}
	j.isr = replication.NewISRSender(j.reach, partitions, cfg.Region.MaxReplicaLag/4, log)
	j.ids = replication.NewProducerIDs(j.reach, newIDStore(dir.FS(), dir.Path()), log)
	partitions.SetMaxLag(cfg.Region.MaxReplicaLag)
	partitions.SetLive(j.region.Alive)

	coordinator := groups(j.region)
	host.fetchers, host.groups = j.fetchers, coordinator
	j.mirror = group.NewMirror(cfg.Region.Mirror, coordinator, nil, log, reg)
	return j, coordinator, j.region.Start()
}

// fetchSilence is how long a leader may be silent, which answers fetches after half a
// second at the latest. After a cut the connection stays dead for as long again: a new one
// is faster.
const fetchSilence = 10 * time.Second

// addressOf is where a broker listens under that name.
func addressOf(r cluster.Registration, listener string) string {
	for _, e := range r.Endpoints {
		if e.Listener == listener {
			return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
		}
	}
	return ""
}

// brokerIDFor is the id that was set, or the one that the data directory has joined
// with, or a new one.
func brokerIDFor(cfg RegionConfig, store fileStore, dir *commitlog.Dir, log *slog.Logger) (int32, error) {
	if cfg.BrokerID != commitlog.AnyBroker {
		return cfg.BrokerID, nil
	}
	if id, ok, err := region.Stored(store, dir); ok || err != nil {
		return id, err
	}
	log.Info("waiting for ZooKeeper to give this broker an id", "most", idWait)
	ctx, cancel := context.WithTimeout(context.Background(), idWait)
	defer cancel()
	cfg.ZooKeeper.Own = nil // there is nothing yet that it could own
	client, err := zk.NewClient(cfg.ZooKeeper, log, nil)
	if err != nil {
		return 0, err
	}
	id := commitlog.AnyBroker
	err = client.Run(ctx, func(ctx context.Context, s *zk.Session) (err error) {
		if err = s.EnsurePaths(ctx); err == nil {
			if id, err = s.GenerateBrokerID(ctx, zk.ReservedBrokerIDs); err == nil {
				cancel()
			}
		}
		return err
	})
	if id == commitlog.AnyBroker {
		return 0, errors.Join(fmt.Errorf("no id for this broker: ZooKeeper at %s gave none within %v; set region.brokerId, or start again when it is there", cfg.ZooKeeper.Connect, idWait), err)
	}
	return id, nil
}

func (j *joined) findController() (address string, brokerEpoch int64, ok bool) {
	b, known := j.region.ControllerAt()
	brokerEpoch = j.region.BrokerEpoch()
	return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), brokerEpoch, known && brokerEpoch >= 0
}

// run has the region's parts run until ctx is done. The session with ZooKeeper is the
// caller's to run, since it outlives them.
func (j *joined) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return j.region.RunSaver(ctx) })
	g.Go(func() error { return j.fetchers.Run(ctx) })
	g.Go(func() error { return j.isr.Run(ctx) })
	g.Go(func() error { return j.ids.Run(ctx) })
	g.Go(func() error { return j.partitions.RunHighWatermarks(ctx) })
	g.Go(func() error { return j.partitions.RunStarts(ctx) })
	return g.Wait()
}

// runSession keeps a session with ZooKeeper until ctx is done.
func (j *joined) runSession(ctx context.Context) error {
	return j.zookeeper.Run(ctx, func(ctx context.Context, s *zk.Session) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return j.region.Serve(ctx, s) })
		g.Go(func() error { return j.mirror.Run(ctx, sessionOffsets{s}) })
		return g.Wait()
	})
}

const (
	leaveAttempts = 3
	leavePause    = time.Second
	leaveWithin   = 15 * time.Second
)

// leave has others lead what this broker leads, as far as there are others.
func (j *joined) leave() {
	if j.region.BrokerEpoch() < 0 {
		return // nobody would hear it
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	start := time.Now()
	others := func() bool { return hasOthers(j.region.Snapshot(), j.reach.Self) }
	remaining, err := replication.Shutdown(ctx, j.reach, others, leaveAttempts, leavePause)
	if errors.Is(err, replication.ErrNoOthers) {
		j.log.Info("no other broker takes over: none that is alive has replicas of the same partitions", "took", time.Since(start))
		return
	}
	if err != nil || len(remaining) > 0 {
		j.log.Warn("other brokers could not take over everything", "partitions", len(remaining), "err", err, "took", time.Since(start))
		return
	}
	j.log.Info("other brokers lead now", "took", time.Since(start))
}

// hasOthers reports whether a live broker has a replica of something that this one has
// one of.
func hasOthers(s *cluster.Snapshot, self int32) bool {
	return slices.ContainsFunc(s.Topics(), func(t *cluster.Topic) bool {
		return slices.ContainsFunc(t.Partitions, func(p cluster.Partition) bool {
			return slices.Contains(p.Replicas, self) && slices.ContainsFunc(p.Replicas, func(id int32) bool {
				_, alive := s.Broker(id)
				return alive && id != self
			})
		})
	})
}
