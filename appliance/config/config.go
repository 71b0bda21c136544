// Package config owns every setting of headwater: its name, default, unit and
// what is allowed. It reads them, in rising order, from the defaults, a YAML
// file, the environment and the flags, and reports everything that is wrong at
// once, by the names that users write.
//
// It opens nothing but the file that it is told of and starts nothing. It is the
// only package that knows viper; the others take the struct they need. Sizes are
// bytes. All of it may be called from any goroutine; a Config is not changed
// once it is loaded.
package config

import (
	"time"

	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/topic"
)

// Config is every setting. The comment at a field is the name users write.
type Config struct {
	Data    Data
	Kafka   Kafka
	Topics  topic.Settings // topics.*: what a topic has that says nothing else
	Cleaner Cleaner
	Groups  Groups
	Users   []access.User // users; empty: everybody may do everything
	NATS    NATS
	MQTT    MQTT
	Admin   Admin
	Memory  Memory
	Log     Log
	Bridge  Bridge
	Region  Region
}

// Region is which other brokers this one has joined.
type Region struct {
	ZooKeeper      string        // region.zookeeper, host:port,…/chroot; "": none, the broker is alone
	Role           string        // region.role: one of the Role… constants
	BrokerID       int32         // region.brokerId; BrokerIDAuto
	Rack           string        // region.rack; "": none
	Listener       string        // region.listener, the name of the brokers' listener
	SessionTimeout time.Duration // region.sessionTimeout, with ZooKeeper
	ReplicaLagTime time.Duration // region.replicaLagTime, until a follower is out of sync
	ReplicaRate    int64         // region.replicaRate, bytes a second of throttled replicas; 0 is no limit

	ReplicationFactor int16  // region.replicationFactor, of a topic for which nobody says how many
	OffsetsReplicas   int16  // region.offsetsReplicas, of __consumer_offsets
	MirrorGroups      string // region.mirrorGroups, a pattern; "": no offsets are copied to ZooKeeper

	Digest string       // region.zookeeperDigest, user:password; "": none
	SetACL bool         // region.zookeeperAcl
	TLS    ZooKeeperTLS // region.zookeeperTls.*
}

// ZooKeeperTLS is how ZooKeeper is known, and how it knows this broker.
type ZooKeeperTLS struct {
	Enabled bool   // enabled
	CA      string // ca, a file; "": the machine's authorities
	Cert    string // cert, a file; "": none is shown
	Key     string // key, a file
}

// What region.role can be.
const (
	RoleGateway = "gateway" // never the controller, and has replicas of what is its own alone
	RoleHub     = "hub"
)

// BrokerIDAuto has ZooKeeper give an id when the data directory has none.
const BrokerIDAuto int32 = -1

// Data is where records lie, and when they are safe.
type Data struct {
	Dir          string        // data.dir
	Durability   string        // data.durability: one of the Durability… constants
	SyncInterval time.Duration // data.syncInterval: used by DurabilityInterval only
	Budget       int64         // data.budget, bytes of all topics together; BudgetAuto or BudgetNone
	Reserve      int64         // data.reserve, bytes

	AllowVolatile bool // data.allowVolatile: where nothing stays, too
}

// The values of Data.Budget that are no number of bytes.
const (
	BudgetAuto int64 = -1 // nine tenths of what is free at the start, or ours already
	BudgetNone int64 = 0
)

// What data.durability can be: when an acknowledged record has been synced.
const (
	DurabilitySync     = "sync"     // before it is acknowledged
	DurabilityInterval = "interval" // within data.syncInterval
	DurabilityOS       = "os"       // when the operating system likes
)

// Kafka is the port that Kafka clients use, and what they may make there.
type Kafka struct {
	Listen            string // kafka.listen, host:port
	Advertise         string // kafka.advertise, host:port; "" is the address listened on
	AutoCreateTopics  bool   // kafka.autoCreateTopics
	DefaultPartitions int32  // kafka.defaultPartitions
	MaxPartitions     int    // kafka.maxPartitions, over all topics
	MaxConnections    int    // kafka.maxConnections

	MaxProducerIDs       int           // kafka.maxProducerIds, of one partition
	ProducerIDExpiration time.Duration // kafka.producerIdExpiration

	MaxFetchSessions int   // kafka.maxFetchSessions
	ProduceRate      int64 // kafka.produceRate, bytes a second of one client id; 0 is no limit
	FetchRate        int64 // kafka.fetchRate, likewise
}

// Cleaner is what compaction may take of the box, all topics together.
type Cleaner struct {
	Buffer         int64         // cleaner.buffer, bytes, while something is compacted
	BytesPerSecond int64         // cleaner.bytesPerSecond, read and written
	Interval       time.Duration // cleaner.interval
}

// Groups is what consumer groups may do, and take.
type Groups struct {
	OffsetsPartitions     int32         // groups.offsetsPartitions, when __consumer_offsets is made
	OffsetsRetention      time.Duration // groups.offsetsRetention
	OffsetMetadataBytes   int           // groups.offsetMetadataBytes
	MinSessionTimeout     time.Duration // groups.minSessionTimeout
	MaxSessionTimeout     time.Duration // groups.maxSessionTimeout
	InitialRebalanceDelay time.Duration // groups.initialRebalanceDelay
	MaxMembers            int           // groups.maxMembers, of one group
	MaxGroups             int           // groups.maxGroups
	MaxBytes              int64         // groups.maxBytes, of all groups in memory
}

// NATS is the port that devices use.
type NATS struct {
	Listen         string // nats.listen, host:port
	MaxPayload     int64  // nats.maxPayload, bytes
	MaxConnections int    // nats.maxConnections
	MaxPending     int64  // nats.maxPending, bytes; PendingAuto
	TLS            TLS    // nats.tls.*
	WebSocket      WebSocket
	LeafNodes      LeafNodes
}

// TLS is what a port shows, and asks for.
type TLS struct {
	Cert     string // cert, a file; "": without TLS
	Key      string // key, a file
	ClientCA string // clientCa, a file; "": clients are not asked for a certificate
	Verify   bool   // verify
}

// WebSocket is the port for browsers.
type WebSocket struct {
	Listen   string // nats.websocket.listen, host:port; "": none
	Insecure bool   // nats.websocket.insecure
}

// LeafNodes is the port for other NATS servers.
type LeafNodes struct {
	Listen         string // nats.leafnodes.listen, host:port; "": none
	MaxConnections int    // nats.leafnodes.maxConnections
}

// PendingAuto derives what may wait for a NATS client from the memory limit.
const PendingAuto int64 = -1

// PendingPayloads is how many of the largest messages must fit into what may wait for
// a client, as the bridge needs it.
const PendingPayloads = 8

// MQTT is the port for devices that speak it. What they send is bounded by
// nats.maxPayload too, for it goes to NATS's subscribers.
type MQTT struct {
	Listen         string // mqtt.listen, host:port; "": none
	MaxConnections int    // mqtt.maxConnections
	TLS            TLS    // mqtt.tls.*
}

// Admin is the HTTP port for metrics, health and firmware.
type Admin struct {
	Listen   string // admin.listen, host:port
	Password string // admin.password, a bcrypt hash; "": nothing can be changed there
}

// Memory is the ceiling for the whole process.
type Memory struct {
	Limit int64 // memory.limit, bytes; MemoryAuto or MemoryNone
}

// The values of Memory.Limit that are no number of bytes.
const (
	MemoryAuto int64 = -1 // the cgroup's limit if there is one, else none
	MemoryNone int64 = 0
)

// Log is how headwater tells what it does.
type Log struct {
	Level  string // log.level: debug, info, warn or error
	Format string // log.format: text or json
}

// Bridge says where devices' messages go.
type Bridge struct {
	Rules     []subject.Rule    // bridge.rules; the first whose subject matches wins
	Commands  []subject.Command // bridge.commands
	MaxTopics int               // bridge.maxTopics, that rules make of subjects
	Buffer    int64             // bridge.buffer, bytes; BufferAuto

	DedupWindow time.Duration // bridge.dedupWindow; 0 remembers no message ids
	DedupMemory int64         // bridge.dedupMemory, bytes; DedupAuto
	AckTimeout  time.Duration // bridge.ackTimeout, until a message that is not stored is given up
}

// DedupAuto derives the room for message ids from the memory limit.
const DedupAuto int64 = -1

// BufferAuto derives the bridge's buffer from the memory limit.
const BufferAuto int64 = -1

// Default suits a gateway with a 16 GB card, reached from the machine itself.
func Default() Config {
	return Config{
		Data: Data{
			Dir:          "/var/lib/headwater",
			Durability:   DurabilitySync,
			SyncInterval: time.Second,
			Budget:       BudgetAuto,
			Reserve:      4 << 20,
		},
		Kafka: Kafka{
			Listen:            "127.0.0.1:9092",
			AutoCreateTopics:  true,
			DefaultPartitions: 1,
			MaxPartitions:     1000,
			MaxConnections:    256,

			MaxProducerIDs:       1000,
			ProducerIDExpiration: 24 * time.Hour,

			MaxFetchSessions: 256,
		},
		Topics: topic.Defaults(),
		Cleaner: Cleaner{
			Buffer:         4 << 20,
			BytesPerSecond: 16 << 20,
			Interval:       15 * time.Second,
		},
		Groups: Groups{
			OffsetsPartitions:     1,
			OffsetsRetention:      7 * 24 * time.Hour,
			OffsetMetadataBytes:   4096,
			MinSessionTimeout:     6 * time.Second,
			MaxSessionTimeout:     30 * time.Minute,
			InitialRebalanceDelay: 3 * time.Second,
			MaxMembers:            1000,
			MaxGroups:             1000,
			MaxBytes:              16 << 20,
		},
		NATS: NATS{
			Listen:         "127.0.0.1:4222",
			MaxPayload:     512 << 10,
			MaxConnections: 1024,
			MaxPending:     PendingAuto,
			LeafNodes:      LeafNodes{MaxConnections: 16},
		},
		MQTT:   MQTT{Listen: "127.0.0.1:1883", MaxConnections: 1024},
		Admin:  Admin{Listen: "127.0.0.1:8080"},
		Memory: Memory{Limit: MemoryAuto},
		Region: Region{
			Role:           RoleGateway,
			BrokerID:       BrokerIDAuto,
			Listener:       "PLAINTEXT",
			SessionTimeout: 18 * time.Second,
			ReplicaLagTime: 30 * time.Second,

			ReplicationFactor: 1,
			OffsetsReplicas:   3,
		},
		Log: Log{Level: "info", Format: "text"},
		Bridge: Bridge{
			Rules:     subject.DefaultRules(),
			MaxTopics: 256,
			Buffer:    BufferAuto,

			DedupWindow: 2 * time.Minute,
			DedupMemory: DedupAuto,
			AckTimeout:  30 * time.Second,
		},
	}
}
