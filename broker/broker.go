// Package broker puts the rooms of the broker together: the data directory, the
// partitions, the cluster as this broker knows it, and the Kafka listener. It
// holds no logic of its own.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/headwater/headwater/broker/api"
	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/server"
	"github.com/headwater/headwater/broker/topic"
)

// ErrJoined is returned for the data directory of a broker that has joined a region and
// is to be alone now: what it wrote so, the others would not know.
var ErrJoined = errors.New("the data is of a broker in a region")

// Config is what a broker is told. The appliance's configuration has the defaults
// and checks the values.
type Config struct {
	DataDir      string
	FS           disk.FS    // that the data directory is on; nil is the machine's
	Clock        disk.Clock // nil is the machine's
	Durability   commitlog.Policy
	SyncInterval time.Duration // between syncs under commitlog.Interval
	DataBudget   int64         // bytes of all topics; commitlog.BudgetAuto; 0 is no limit
	DataReserve  int64         // bytes kept for what must be written on a full disk

	BrokerID          int32
	Advertise         string // host:port that clients are told; "" for the listener's
	AutoCreateTopics  bool
	DefaultPartitions int32 // of a topic that is created without a number
	MaxPartitions     int   // of all topics together
	MaxDeviceTopics   int   // that Partitions creates, but for NamedTopics; 0 is no limit
	NamedTopics       []string
	TopicDefaults     topic.Settings
	CleanerBuffer     int64         // bytes of memory for keys, while something is compacted
	CleanerRate       int64         // bytes that compaction reads and writes in a second
	CleanerInterval   time.Duration // between two looks for something to compact

	MaxProducers       int           // idempotent producers that a partition remembers
	ProducerExpiration time.Duration // and for how long after their last append

	RetentionEvery time.Duration // how often old segments are looked for

	ClientRates       quota.Rates // of clients for whom nothing was set while the broker runs
	FetchSessions     int         // of consumers that are remembered at one time
	FetchSessionBytes int64       // and what they may take of memory together

	MaxConnections int
	ProduceBytes   int64 // what produce requests in flight may take of memory
	FetchBytes     int64 // and what fetch answers may
	IndexBytes     int64 // and the indexes of segments that grow; 0 is commitlog's default
	AllProducers   int   // idempotent ones that are remembered, over all partitions; 0 is no limit

	Groups group.Config
	Region RegionConfig
}

// Broker serves partitions to Kafka clients and takes the bridge's batches.
type Broker struct {
	cfg        Config
	dir        *commitlog.Dir
	partitions *partition.Set
	cluster    cluster.Coordinator
	groups     *group.Coordinator
	server     *server.Server
	joined     *joined // nil for a broker that is alone
	unpacked   unpacker
	log        *slog.Logger
	running    atomic.Bool
}

// Open takes the data directory, recovers its logs and makes the broker ready to
// Run on ln, which it owns from now on. Only one process at a time can have a
// data directory: disk.ErrLocked.
func Open(cfg Config, ln net.Listener, log *slog.Logger, reg prometheus.Registerer) (b *Broker, err error) {
	self, err := advertised(cfg, ln)
	if err != nil {
		return nil, err
	}
	if err := cfg.checkJoined(); err != nil {
		return nil, err
	}
	dir, err := commitlog.OpenDir(cfg.DataDir, commitlog.Options{
		FS: cfg.FS, Clock: cfg.Clock, Policy: cfg.Durability, Interval: cfg.SyncInterval, BrokerID: cfg.dataOf(),
		Budget: cfg.DataBudget, Reserve: cfg.DataReserve, IndexBytes: cfg.IndexBytes, Log: log, Registerer: reg,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dir.Close())
		}
	}()
	partitions := partition.NewSet(dir, cfg.Durability == commitlog.Interval, log)
	partitions.LimitProducers(partition.ProducerLimits{Max: cfg.MaxProducers, Total: cfg.AllProducers, Expiration: cfg.ProducerExpiration})
	b = &Broker{cfg: cfg, dir: dir, partitions: partitions, log: log}
	if err := b.assemble(self, reg); err != nil {
		return nil, err
	}
	b.server = b.newServer(ln, reg)
	registerPartitions(reg, partitions)
	return b, nil
}

// checkJoined refuses a broker that is to be alone the data of one that has joined others,
// before anything is written. Its id is most often another one there, too, which would
// say less.
func (cfg Config) checkJoined() error {
	if cfg.Region.ZooKeeper.Connect != "" {
		return nil
	}
	fsys := cfg.FS
	if fsys == nil {
		fsys = disk.OS{}
	}
	joined, err := newRegionStore(fsys, cfg.DataDir).exists()
	if err == nil && joined {
		err = fmt.Errorf("%s: %w; set region.zookeeper, or start with an empty data.dir", cfg.DataDir, ErrJoined)
	}
	return err
}

// dataOf is the broker whose data the directory must hold.
func (cfg Config) dataOf() int32 {
	if cfg.Region.ZooKeeper.Connect != "" {
		return commitlog.AnyBroker // the region knows whose it is
	}
	return cfg.BrokerID
}

// assemble makes what knows the cluster: alone, or with others.
func (b *Broker) assemble(self cluster.Broker, reg prometheus.Registerer) (err error) {
	groups := func(of cluster.Coordinator) *group.Coordinator {
		b.cluster = of
		now := func() (time.Time, bool) { return time.Now(), b.dir.WallTrusted() }
		return group.New(b.cfg.Groups, offsetsLog{b.partitions, of}, now, b.log, reg)
	}
	if b.cfg.Region.ZooKeeper.Connect != "" {
		b.cfg.Groups.Clustered = true
		if b.joined, b.groups, err = join(b.cfg, self, b.dir, b.partitions, groups, b.log, reg); err == nil {
			b.cfg.BrokerID = b.joined.reach.Self
		}
		return err
	}
	cfg, dir := b.cfg, b.dir
	solo := cluster.NewSolo(cluster.SoloConfig{
		ClusterID:         dir.ClusterID(),
		Self:              self,
		Defaults:          cfg.TopicDefaults,
		DefaultPartitions: cfg.DefaultPartitions,
		MaxPartitions:     cfg.MaxPartitions,
		MaxDeviceTopics:   cfg.MaxDeviceTopics,
	}, newFileStore(dir.FS(), dir.Path()), host{b.partitions}, b.log)
	b.groups = groups(solo)
	return solo.Start()
}

// Run serves until ctx is done or a part fails. In a region others take over first
// what this broker leads. The committer outlives the server, so that everything that
// was taken is synced and answered; then the logs are closed, and then the session
// with ZooKeeper ends: until then nobody takes this broker's id.
func (b *Broker) Run(ctx context.Context) (err error) {
	stopping, fail := context.WithCancelCause(context.WithoutCancel(ctx)) // not before leave is done
	defer fail(nil)
	if b.joined != nil {
		session, stopSession := beside(b.joined.runSession, fail)
		defer func() {
			stopSession()
			err = errors.Join(err, session())
		}()
	}
	defer func() { err = errors.Join(err, b.dir.Close()) }()

	committer, stopCommitter := beside(b.dir.Run, fail)
	g, serving := errgroup.WithContext(stopping)
	g.Go(func() error {
		select {
		case <-serving.Done():
			return nil
		case <-ctx.Done():
		}
		if b.joined != nil {
			b.joined.leave()
		}
		fail(nil)
		return nil
	})
	g.Go(func() error { return b.server.Run(serving) })
	g.Go(func() error { return b.partitions.RunRetention(serving, b.cfg.RetentionEvery) })
	g.Go(func() error { return b.partitions.RunProducers(serving) })
	g.Go(func() error { return b.partitions.RunCleaner(serving, b.cleaner()) })
	g.Go(func() error { return b.groups.Run(serving) })
	if b.joined != nil {
		g.Go(func() error { return b.joined.run(serving) })
	}
	b.running.Store(true)
	defer b.running.Store(false)

	err = g.Wait()
	stopCommitter()
	err = errors.Join(err, committer())
	b.partitions.SaveProducers() // of what is synced, all of it
	b.partitions.SaveHighWatermarks()
	return err
}

// beside runs a part until stop is called, whatever becomes of the others; await
// waits for its end. Should it fail, fail is told.
func beside(run func(context.Context) error, fail context.CancelCauseFunc) (await func() error, stop context.CancelFunc) {
	ctx, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error {
		err := run(ctx)
		if err != nil {
			fail(err)
		}
		return err
	})
	return g.Wait, stop
}

func (b *Broker) cleaner() partition.CleanerConfig {
	return partition.CleanerConfig{BufferBytes: b.cfg.CleanerBuffer, BytesPerSecond: b.cfg.CleanerRate, Interval: b.cfg.CleanerInterval}
}

// Snapshot is the cluster as this broker knows it now.
func (b *Broker) Snapshot() *cluster.Snapshot { return b.cluster.Snapshot() }

// WallSynchronized reports whether the kernel said, at the last look, that the time of
// day is kept right. It is cheap enough to ask for each record.
func (b *Broker) WallSynchronized() bool { return b.dir.WallSynchronized() }

// Ready is nil while the broker serves all of its partitions.
func (b *Broker) Ready() error {
	if !b.running.Load() {
		return errors.New("not running")
	}
	return notReady(b.partitions.Offline())
}

// maxTold is how many partitions Ready and CaughtUp name: one disk takes all with it,
// and after a start all are behind.
const maxTold = 10

// notReady says which partitions are offline, and why; nil when none is.
func notReady(offline []partition.Offline) error {
	if len(offline) == 0 {
		return nil
	}
	var told []string
	for _, p := range offline[:min(len(offline), maxTold)] {
		told = append(told, fmt.Sprintf("%s (%v)", p.Name, p.Err))
	}
	return fmt.Errorf("%d partitions are offline: %s", len(offline), someOf(told, len(offline)))
}

// newServer makes the Kafka listener's server.
func (b *Broker) newServer(ln net.Listener, reg prometheus.Registerer) *server.Server {
	clients := quota.NewLimiter(b.cfg.ClientRates)
	registerClients(reg, clients)
	cfg := api.Config{
		BrokerID:          b.cfg.BrokerID,
		AutoCreateTopics:  b.cfg.AutoCreateTopics,
		DefaultPartitions: b.cfg.DefaultPartitions,
		FetchBytes:        b.cfg.FetchBytes,
		Groups:            b.groups,
		LogDir:            logDir{b.dir},
		Quotas:            clients,
		FetchSessions:     b.cfg.FetchSessions,
		FetchSessionBytes: b.cfg.FetchSessionBytes,
		Registerer:        reg,
	}
	var ids api.ProducerIDs = partition.NewProducerIDs(b.dir.FS(), b.dir.Path(), b.log)
	if j := b.joined; j != nil {
		cfg.Listener, cfg.Member, cfg.Controller, cfg.ZooKeeper = b.cfg.Region.Listener, j.region, j.controller, zookeeperOffsets{j.zookeeper}
		cfg.DefaultReplicas, ids = b.cfg.Region.ReplicationFactor, j.ids
	}
	handler := api.New(cfg, b.cluster, api.Hosted(b.partitions), ids, b.log)
	limits := server.DefaultConfig()
	limits.MaxConnections = b.cfg.MaxConnections
	limits.ProduceBytes = b.cfg.ProduceBytes
	return server.New(limits, ln, handler, b.log, reg)
}

// advertised is this broker as clients are told of it.
func advertised(cfg Config, ln net.Listener) (cluster.Broker, error) {
	address := cfg.Advertise
	if address == "" {
		address = ln.Addr().String()
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return cluster.Broker{}, fmt.Errorf("advertised address %q is not host:port", address)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return cluster.Broker{}, fmt.Errorf("advertised address %q has no port from 1 to 65535", address)
	}
	return cluster.Broker{ID: cfg.BrokerID, Host: host, Port: int32(port)}, nil
}
