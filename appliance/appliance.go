// Package appliance puts broker, bridge and admin together: it takes the ports,
// opens the data directory, starts the parts and stops them in reverse.
//
// It decides nothing about records. New writes nothing before every port is had;
// Run is called once, and waits for all it started. Settings come checked, from
// package config; sizes are bytes.
package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/appliance/admin"
	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/bridge"
	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// Appliance is one box: a broker, the bridge to its devices and the admin port.
type Appliance struct {
	log     *slog.Logger
	started time.Time
	ports   *ports
	parts   []part
}

// New takes the ports that cfg names, then opens the data directory and recovers
// what is in it. memoryLimit is the ceiling for the whole process, 0 for none.
// What the settings caused, a port in use or a data directory that another
// process holds, is told as config.Problems, and then nothing was written.
func New(cfg config.Config, memoryLimit int64, log *slog.Logger) (*Appliance, error) {
	a := &Appliance{log: log, started: time.Now()}
	reg := prometheus.NewRegistry()
	memory := budgetsUnder(HeapLimit(memoryLimit), cfg.Topics.MaxMessageBytes)
	var err error
	a.ports, err = bind(cfg, func() (*bridge.Bridge, error) {
		return bridge.Listen(bridgeConfig(cfg, memory), log, reg)
	})
	if err != nil {
		return nil, err
	}
	if err := a.assemble(cfg, memory, reg); err != nil {
		a.ports.close()
		return nil, err
	}
	return a, nil
}

// assemble lists the parts in the order of starting: each stands on those before
// it. The data directory is opened last, when nothing else can fail.
func (a *Appliance) assemble(cfg config.Config, memory budgets, reg *prometheus.Registry) error {
	rules, err := subject.Compile(cfg.Bridge.Rules)
	if err != nil {
		return err
	}
	brokerCfg, err := brokerConfig(cfg, memory, a.ports.kafka)
	if err != nil {
		return err
	}
	brokerCfg.MaxDeviceTopics, brokerCfg.NamedTopics = cfg.Bridge.MaxTopics, rules.NamedTopics()
	bridge := a.ports.bridge
	var box *broker.Broker
	caughtUp := func() error { return box.CaughtUp() }
	admin, err := admin.New(a.ports.admin, []admin.Part{
		{Name: "broker", Ready: func() error { return box.Ready() }, CaughtUp: caughtUp},
		{Name: "bridge", Ready: bridge.Ready},
	}, flashed(cfg.Admin.Password, caughtUp, a.log), a.log, reg)
	if err != nil {
		return err
	}
	if err := checkFilesystem(cfg.Data, disk.FilesystemOf, a.log); err != nil {
		return err
	}
	if box, err = broker.Open(brokerCfg, a.ports.kafka, a.log, reg); err != nil {
		return dataProblem(cfg.Data.Dir, err)
	}
	warnOfRules(cfg, rules, box.PartitionCount, a.log)
	a.parts = []part{
		{"admin", admin.Run, func() error { return nil }},
		{"broker", box.Run, box.Ready},
		{"bridge", func(ctx context.Context) error { return bridge.Run(ctx, box) }, bridge.Ready},
	}
	return nil
}

// Run serves until ctx is done or a part fails. On the way out the bridge
// finishes what it took, then the broker, which syncs and closes its logs; admin
// ends last, so that one can look on.
func (a *Appliance) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { a.log.Info("stopping") })()
	err := runInOrder(ctx, a.parts, func() {
		a.log.Info("ready", "kafka", a.ports.kafka.Addr().String(), "nats", a.ports.bridge.Addr(),
			"mqtt", a.ports.bridge.MQTTAddr(), "admin", a.ports.admin.Addr().String(), "took", time.Since(a.started))
	})
	if err == nil {
		a.log.Info("stopped")
	}
	return err
}

func brokerConfig(cfg config.Config, memory budgets, ln net.Listener) (broker.Config, error) {
	durability, err := commitlog.ParsePolicy(cfg.Data.Durability)
	if err != nil {
		return broker.Config{}, fmt.Errorf("data.durability: %w", err)
	}
	advertise, err := advertised(cfg.Kafka, ln, os.Hostname)
	if err != nil {
		return broker.Config{}, err
	}
	region, err := regionConfig(cfg.Region)
	if err != nil {
		return broker.Config{}, err
	}
	region.FetchBytes = int32(memory.followed)
	groups := groupConfig(cfg.Groups)
	if cfg.Region.ZooKeeper != "" {
		groups.ReplicationFactor = cfg.Region.OffsetsReplicas
	}
	return broker.Config{
		DataDir:           cfg.Data.Dir,
		Durability:        durability,
		SyncInterval:      cfg.Data.SyncInterval,
		DataBudget:        budget(cfg.Data.Budget),
		DataReserve:       cfg.Data.Reserve,
		BrokerID:          brokerID,
		Advertise:         advertise,
		AutoCreateTopics:  cfg.Kafka.AutoCreateTopics,
		DefaultPartitions: cfg.Kafka.DefaultPartitions,
		MaxPartitions:     cfg.Kafka.MaxPartitions,
		TopicDefaults:     cfg.Topics,
		CleanerBuffer:     cfg.Cleaner.Buffer,
		CleanerRate:       cfg.Cleaner.BytesPerSecond,
		CleanerInterval:   cfg.Cleaner.Interval,
		ClientRates:       quota.Rates{quota.Produce: cfg.Kafka.ProduceRate, quota.Fetch: cfg.Kafka.FetchRate},
		FetchSessions:     cfg.Kafka.MaxFetchSessions,
		FetchSessionBytes: memory.sessions,
		MaxConnections:    cfg.Kafka.MaxConnections,
		ProduceBytes:      memory.produce,
		FetchBytes:        memory.fetch,
		IndexBytes:        memory.indexes,
		AllProducers:      memory.producers,

		MaxProducers:       cfg.Kafka.MaxProducerIDs,
		ProducerExpiration: cfg.Kafka.ProducerIDExpiration,
		RetentionEvery:     retentionEvery,
		Groups:             groups,
		Region:             region,
	}, nil
}

func groupConfig(cfg config.Groups) group.Config {
	return group.Config{
		Partitions:        cfg.OffsetsPartitions,
		OffsetsRetention:  cfg.OffsetsRetention,
		MaxMetadataBytes:  cfg.OffsetMetadataBytes,
		MinSessionTimeout: cfg.MinSessionTimeout,
		MaxSessionTimeout: cfg.MaxSessionTimeout,
		InitialDelay:      cfg.InitialRebalanceDelay,
		MaxMembers:        cfg.MaxMembers,
		MaxGroups:         cfg.MaxGroups,
		MaxBytes:          cfg.MaxBytes,
	}
}

// budget is data.budget as the log takes it.
func budget(bytes int64) int64 {
	switch bytes {
	case config.BudgetAuto:
		return commitlog.BudgetAuto
	case config.BudgetNone:
		return 0
	}
	return bytes
}

// retentionEvery is how often old segments are looked for.
const retentionEvery = 30 * time.Second

// brokerID is that of a box that belongs to no cluster.
const brokerID = 1

func bridgeConfig(cfg config.Config, memory budgets) bridge.Config {
	out := bridge.DefaultConfig()
	out.Listen = cfg.NATS.Listen
	out.Rules = cfg.Bridge.Rules
	out.Users = cfg.Users
	out.TLS.Cert, out.TLS.Key = cfg.NATS.TLS.Cert, cfg.NATS.TLS.Key
	out.TLS.ClientCA, out.TLS.Verify = cfg.NATS.TLS.ClientCA, cfg.NATS.TLS.Verify
	out.MQTT, out.MaxMQTTConnections = cfg.MQTT.Listen, cfg.MQTT.MaxConnections
	out.MQTTTLS.Cert, out.MQTTTLS.Key = cfg.MQTT.TLS.Cert, cfg.MQTT.TLS.Key
	out.MQTTTLS.ClientCA, out.MQTTTLS.Verify = cfg.MQTT.TLS.ClientCA, cfg.MQTT.TLS.Verify
	out.Commands = cfg.Bridge.Commands
	out.WebSocket, out.WebSocketPlain = cfg.NATS.WebSocket.Listen, cfg.NATS.WebSocket.Insecure
	out.LeafNodes, out.MaxLeafNodes = cfg.NATS.LeafNodes.Listen, cfg.NATS.LeafNodes.MaxConnections
	out.MaxPayload = int32(cfg.NATS.MaxPayload)
	out.MaxConnections = cfg.NATS.MaxConnections
	out.MaxPendingBytes = cfg.NATS.MaxPending
	if out.MaxPendingBytes == config.PendingAuto {
		out.MaxPendingBytes = max(memory.pending, bridge.PendingPayloads*cfg.NATS.MaxPayload)
	}
	out.MaxPendingTotal = max(memory.allPending, 2*out.MaxPendingBytes)

	out.MaxBatchBytes = int(cfg.Topics.MaxMessageBytes)
	out.AckTimeout = cfg.Bridge.AckTimeout
	out.BufferBytes = cfg.Bridge.Buffer
	if out.BufferBytes == config.BufferAuto {
		out.BufferBytes = memory.bridge
	}
	out.DedupWindow, out.DedupBytes = cfg.Bridge.DedupWindow, cfg.Bridge.DedupMemory
	if out.DedupBytes == config.DedupAuto {
		out.DedupBytes = memory.dedup
	}
	out.Permanent, out.Full, out.Crowded, out.NextOffset = permanent, full, crowded, nextOffset
	out.Unknown, out.OutOfRange = unknown, outOfRange
	if cfg.Region.ZooKeeper != "" {
		out.NoDurable = noDurable
	}
	out.PositionsRetention, out.MaxPositionMetadata = cfg.Groups.OffsetsRetention, cfg.Groups.OffsetMetadataBytes
	return out
}

// permanent tells errors of the broker that the same message would meet again,
// however often it is sent.
func permanent(err error) bool {
	return errors.Is(err, topic.ErrInvalidName) || errors.Is(err, topic.ErrInternal) || errors.Is(err, record.ErrInvalid) || errors.Is(err, record.ErrCorrupt)
}

// crowded tells that devices may cause no more topics.
func crowded(err error) bool {
	return errors.Is(err, cluster.ErrTooManyDeviceTopics) || errors.Is(err, cluster.ErrTooManyPartitions)
}

// nextOffset tells where a partition ends at which a batch was not appended, since it
// belongs elsewhere.
func nextOffset(err error) (offset int64, ok bool) {
	var mismatch *commitlog.OffsetMismatch
	if !errors.As(err, &mismatch) {
		return 0, false
	}
	return mismatch.Next, true
}

// full tells that the broker has no room.
func full(err error) bool { return errors.Is(err, commitlog.ErrFull) }

// dataProblem makes a sentence about data.dir of errors that the setting caused.
func dataProblem(dir string, err error) error {
	problem := func(text string) error {
		return config.Problems{{Key: "data.dir", Text: dir + " " + text}}
	}
	switch {
	case errors.Is(err, disk.ErrLocked):
		return problem("is held by another process; allowed is one that no other holds")
	case errors.Is(err, fs.ErrPermission):
		return problem(fmt.Sprintf("may not be written by this user, %d; allowed is one that may", os.Getuid()))
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EROFS):
		return problem("cannot be made; allowed is a directory on a disk that can be written")
	}
	return err
}

// unknown tells that the broker has no such partition, which clients may know.
func unknown(err error) bool {
	return errors.Is(err, broker.ErrUnknownPartition) || errors.Is(err, topic.ErrInternal)
}

// outOfRange tells that an offset is outside the log.
func outOfRange(err error) bool { return errors.Is(err, commitlog.ErrOffsetOutOfRange) }
