// Package api answers Kafka requests: one file per API key (NN_name.go) turns a
// request into calls on the rooms below, and what they return into the answer. It
// decides nothing that a room can decide. table.go says what is spoken; errors.go
// is the only place that knows both the rooms' errors and Kafka's codes.
//
// An API is the Handler of a server.Server: its methods run on the goroutines of
// many connections, and it starts none of its own. Sizes are in bytes; times on
// the wire are Unix milliseconds.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/server"
	"github.com/headwater/headwater/broker/wire"
)

// Config is what the answers depend on beside the cluster and its topics.
type Config struct {
	BrokerID          int32
	AutoCreateTopics  bool       // asking for the metadata of an unknown topic makes it
	DefaultPartitions int32      // told by DescribeConfigs; the coordinator applies it
	DefaultReplicas   int16      // likewise; 0 is 1
	MaxRequestBytes   int32      // of a produce request; 0 for DefaultMaxRequestBytes
	FetchBytes        int64      // records that are read and not yet written, of all fetches together
	Listener          string     // the name of the brokers' listener
	Member            Member     // nil without a region
	Controller        Controller // nil without a region
	LogDir            LogDir
	Groups            *group.Coordinator
	ZooKeeper         ZooKeeperOffsets // nil without ZooKeeper
	Quotas            *quota.Limiter   // what clients have; nil: nobody is held to a rate but by what is set while the broker runs

	FetchSessions     int                   // that are remembered at one time
	FetchSessionBytes int64                 // and what they may take of memory together
	Registerer        prometheus.Registerer // nil: nobody looks
}

// LogDir is where the partitions of this broker are.
type LogDir interface {
	// Path is absolute.
	Path() string
	// Volume tells the size of the file system below it, and what is free there, in
	// bytes; -1 is not known.
	Volume() (capacity, free int64)
}

// DefaultMaxRequestBytes is the longest produce request.
const DefaultMaxRequestBytes = 8 << 20

// maxPlainBytes is the longest request that carries no records: one that fetches
// some 8,000 partitions by name.
const maxPlainBytes = 256 << 10

// maxOrderBytes is the longest request of a controller: it tells of some 200,000
// partitions at one time.
const maxOrderBytes = 16 << 20

// Partition is what requests need of a partition; partition.Partition has it.
type Partition interface {
	Append(b record.Batch) (baseOffset, nextOffset int64, err error)
	Read(fromOffset int64, maxBytes int, atLeastOne bool) (partition.Fetched, error)
	Watch(wake chan<- struct{}) (stop func())
	Offsets() (logStartOffset, highWatermark int64)
	LeaderEpoch() int32
	Role() (leader, leaderEpoch int32, leads bool)
	AppendThen(b record.Batch, all bool, done func(baseOffset int64, err error))
	ReadReplica(partition.ReplicaFetch) (partition.Fetched, *partition.EpochEnd, error)
	WatchEnd(wake chan<- struct{}) (stop func())
	Durable() int64
	LatestOffset() (int64, error)
	NearestReplica(fromOffset int64, near func(brokerID int32) bool) (brokerID int32, ok bool)
	OffsetForTime(timestamp int64) (offset, at int64, found bool, err error)
	EndOffsetForEpoch(leaderEpoch int32) (foundEpoch int32, endOffset int64, err error)
	DeleteBefore(offset int64) (logStartOffset int64, err error)
	LowWatermark() (int64, error)
	WatchLow(wake chan<- struct{}) (stop func())
	Size() int64
	Err() error
	ActiveProducers() []partition.ActiveProducer
}

// Partitions finds the partitions that this broker hosts.
type Partitions interface {
	Get(topic string, index int32) (Partition, error)
}

// ProducerIDs hands out ids for idempotent producers, each once;
// partition.ProducerIDs does.
type ProducerIDs interface {
	Next(ctx context.Context) (int64, error)
}

// Hosted makes Partitions of a partition.Set.
func Hosted(set *partition.Set) Partitions { return hosted{set} }

type hosted struct{ set *partition.Set }

func (h hosted) Get(topic string, index int32) (Partition, error) {
	p, err := h.set.Get(topic, index)
	if err != nil {
		return nil, err // and no Partition that holds a nil pointer
	}
	return p, nil
}

// placed tells a partition that other brokers have from one that nobody has.
type placed struct {
	Partitions
	cluster cluster.Coordinator
}

// Get implements Partitions.
func (p placed) Get(topic string, index int32) (Partition, error) {
	found, err := p.Partitions.Get(topic, index)
	if !errors.Is(err, partition.ErrUnknown) {
		return found, err
	}
	if t, ok := p.cluster.Snapshot().Topic(topic); ok && index >= 0 && int(index) < len(t.Partitions) {
		return nil, fmt.Errorf("%.60s-%d: %w: no replica of it is here", topic, index, partition.ErrNotLeader)
	}
	return nil, err
}

// API answers requests.
type API struct {
	cfg        Config
	table      []entry
	cluster    cluster.Coordinator
	partitions Partitions
	producers  ProducerIDs
	log        *slog.Logger

	fetchBytes *semaphore.Weighted
	told       toldClients
	noIDs      atomic.Bool // the last producer that asked got no id
	sessions   *fetchSessions
	quotas     *quota.Limiter
	throttled  quota.Shared // what throttled replicas have of this leader
}

// New returns an API over the cluster, the partitions of this broker and the ids
// for its producers.
func New(cfg Config, coordinator cluster.Coordinator, partitions Partitions, producers ProducerIDs, log *slog.Logger) *API {
	if cfg.MaxRequestBytes == 0 {
		cfg.MaxRequestBytes = DefaultMaxRequestBytes
	}
	if cfg.Quotas == nil {
		cfg.Quotas = quota.NewLimiter(quota.Rates{})
	}
	a := &API{
		cfg:        cfg,
		table:      spoken(cfg.Member != nil),
		cluster:    coordinator,
		partitions: placed{partitions, coordinator},
		producers:  producers,
		log:        log,
		fetchBytes: semaphore.NewWeighted(cfg.FetchBytes),
		sessions:   newFetchSessions(cfg.FetchSessions, cfg.FetchSessionBytes),
		quotas:     cfg.Quotas,
	}
	a.sessions.register(cfg.Registerer)
	return a
}

// Terms implements server.Handler.
func (a *API) Terms(key, version int16) (server.Terms, error) {
	e, err := a.find(key, version)
	if err != nil {
		return server.Terms{}, err
	}
	terms := server.Terms{Name: kmsg.NameForKey(key), MaxBytes: maxPlainBytes}
	if version >= e.min && version <= e.max { // any number of others may be asked for
		terms.Version = strconv.Itoa(int(version))
	}
	if e.between {
		terms.MaxBytes = maxOrderBytes
	}
	if e.records {
		terms.MaxBytes, terms.Pipelined = a.cfg.MaxRequestBytes, true
	}
	return terms, nil
}

// Start implements server.Handler.
func (a *API) Start(ctx context.Context, frame []byte, c server.Conn) (server.Request, error) {
	h, err := wire.Peek(frame)
	if err != nil {
		return nil, err
	}
	e, err := a.find(h.Key, h.Version)
	if err != nil {
		return nil, err
	}
	return e.start(a, ctx, frame, c)
}

// find returns the table's entry for a request. It is the one place that checks
// versions. ApiVersions is asked before versions are known, so a version of it
// that is not spoken gets an answer that everyone can read; another request of
// that kind cannot be answered.
func (a *API) find(key, version int16) (entry, error) {
	for _, e := range a.table {
		switch {
		case e.key != key:
		case version >= e.min && version <= e.max:
			return e, nil
		case key == wire.APIVersions:
			e.start = (*API).startUnknownAPIVersions
			return e, nil
		default:
			return entry{}, fmt.Errorf("%w: %s version %d, spoken are %d to %d", server.ErrUnsupported, kmsg.NameForKey(key), version, e.min, e.max)
		}
	}
	return entry{}, fmt.Errorf("%w: API key %d", server.ErrUnsupported, key)
}
