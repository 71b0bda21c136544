package config

import (
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/topic"
)

// key is one setting.
type key struct {
	name  string // as users write it
	doc   string // one line for the flag's help
	parse func(c *Config, text string) error
	text  func(c *Config) string
	node  func(c *Config) *yaml.Node // nil for a single value
}

// keys is every setting. What stands here is what the file, the environment and
// the flags may name, and what check-config prints, in this order.
var keys = []key{
	entry("data.dir", text(), func(c *Config) *string { return &c.Data.Dir },
		"directory for everything that is kept"),
	entry("data.durability", oneOf(DurabilitySync, DurabilityInterval, DurabilityOS), func(c *Config) *string { return &c.Data.Durability },
		"when an acknowledged record is on flash: sync (before the acknowledgement), interval or os"),
	entry("data.syncInterval", duration(time.Millisecond, time.Hour), func(c *Config) *time.Duration { return &c.Data.SyncInterval },
		"longest time between syncs with data.durability interval"),
	entry("data.budget", size(1<<20, 1<<60, word[int64]{"auto", BudgetAuto}, word[int64]{"none", BudgetNone}), func(c *Config) *int64 { return &c.Data.Budget },
		"bytes that all topics may hold together; auto: nine tenths of what is free at the start or theirs already"),
	entry("data.reserve", size(0, 64<<20), func(c *Config) *int64 { return &c.Data.Reserve },
		"bytes set aside for what must be written when the disk is full; 0 sets none aside"),
	entry("data.allowVolatile", boolean(), func(c *Config) *bool { return &c.Data.AllowVolatile },
		"keep records also where they do not stay: in memory, or in a container's own layer"),

	entry("kafka.listen", listenAddress(), func(c *Config) *string { return &c.Kafka.Listen },
		"address for Kafka clients"),
	entry("kafka.advertise", dialAddress(), func(c *Config) *string { return &c.Kafka.Advertise },
		"address that Kafka clients are told to dial; empty: the one listened on"),
	entry("kafka.autoCreateTopics", boolean(), func(c *Config) *bool { return &c.Kafka.AutoCreateTopics },
		"make a topic when a client or a device first uses it"),
	entry("kafka.defaultPartitions", whole[int32](1, 10000), func(c *Config) *int32 { return &c.Kafka.DefaultPartitions },
		"partitions of a topic for which nobody says how many"),
	entry("kafka.maxPartitions", whole(1, 100000), func(c *Config) *int { return &c.Kafka.MaxPartitions },
		"partitions of all topics together"),
	entry("kafka.maxConnections", whole(1, 65536), func(c *Config) *int { return &c.Kafka.MaxConnections },
		"Kafka clients connected at one time"),
	entry("kafka.maxProducerIds", whole(1, 10000), func(c *Config) *int { return &c.Kafka.MaxProducerIDs },
		"idempotent producers that a partition remembers, so as to recognise what they send again"),
	entry("kafka.producerIdExpiration", duration(time.Minute, maxAge), func(c *Config) *time.Duration { return &c.Kafka.ProducerIDExpiration },
		"how long an idempotent producer is remembered after its last record"),
	entry("kafka.maxFetchSessions", whole(0, 4096), func(c *Config) *int { return &c.Kafka.MaxFetchSessions },
		"consumers whose partitions are remembered, so that they need not name them each time"),
	entry("kafka.produceRate", size(0, 1<<50), func(c *Config) *int64 { return &c.Kafka.ProduceRate },
		"bytes a second that Kafka clients of one client id may produce; 0 is no limit"),
	entry("kafka.fetchRate", size(0, 1<<50), func(c *Config) *int64 { return &c.Kafka.FetchRate },
		"bytes a second that Kafka clients of one client id may fetch; 0 is no limit"),

	entry("topics.segmentBytes", size(1<<20, 1<<30), func(c *Config) *int64 { return &c.Topics.SegmentBytes },
		"a segment is closed before it passes this size"),
	entry("topics.segmentAge", duration(time.Second, maxAge), func(c *Config) *time.Duration { return &c.Topics.SegmentAge },
		"a segment is closed when it is older"),
	entry("topics.retentionBytes", size(0, 1<<60, keepBytes), func(c *Config) *int64 { return &c.Topics.RetentionBytes },
		"old segments go while a partition is larger; -1 keeps them"),
	entry("topics.retention", duration(0, maxAge, keepAge), func(c *Config) *time.Duration { return &c.Topics.Retention },
		"segments last appended to longer ago go; -1 keeps them"),
	entry("topics.maxMessageBytes", size(1<<10, 64<<20), func(c *Config) *int64 { return &c.Topics.MaxMessageBytes },
		"largest record batch that is taken"),
	entry("topics.full", fullPolicy(), func(c *Config) *topic.FullPolicy { return &c.Topics.Full },
		"when the box has no room: drop-oldest lets old segments go, reject refuses records"),
	entry("topics.cleanupPolicy", cleanupPolicy(), func(c *Config) *topic.CleanupPolicy { return &c.Topics.Cleanup },
		"what becomes of old records: delete, compact, or compact,delete for both"),
	entry("topics.minCleanableDirtyRatio", share(), func(c *Config) *float64 { return &c.Topics.MinDirtyRatio },
		"share of a log that was not compacted above which it is"),
	entry("topics.deleteRetention", duration(0, maxAge), func(c *Config) *time.Duration { return &c.Topics.DeleteRetention },
		"for how long compaction keeps a record without a value"),
	entry("topics.minCompactionLag", duration(0, maxAge), func(c *Config) *time.Duration { return &c.Topics.MinCompactionLag },
		"records are not compacted before they are this old"),
	entry("topics.maxCompactionLag", duration(time.Millisecond, maxAge, never), func(c *Config) *time.Duration { return &c.Topics.MaxCompactionLag },
		"records are compacted when they are this old, whatever the ratio; never: not for that"),

	entry("cleaner.buffer", size(64<<10, 1<<30), func(c *Config) *int64 { return &c.Cleaner.Buffer },
		"memory for the keys of the log that is compacted"),
	entry("cleaner.bytesPerSecond", size(64<<10, 1<<40), func(c *Config) *int64 { return &c.Cleaner.BytesPerSecond },
		"what compaction reads and writes at most"),
	entry("cleaner.interval", duration(100*time.Millisecond, time.Hour), func(c *Config) *time.Duration { return &c.Cleaner.Interval },
		"time between two looks for logs to compact"),

	entry("groups.offsetsPartitions", whole[int32](1, 1000), func(c *Config) *int32 { return &c.Groups.OffsetsPartitions },
		"partitions of __consumer_offsets, when it is made"),
	entry("groups.offsetsRetention", duration(time.Minute, maxAge), func(c *Config) *time.Duration { return &c.Groups.OffsetsRetention },
		"how long offsets are kept of a group that has no members"),
	entry("groups.offsetMetadataBytes", whole(0, 32000), func(c *Config) *int { return &c.Groups.OffsetMetadataBytes },
		"longest text that a client may keep beside an offset"),
	entry("groups.minSessionTimeout", duration(time.Millisecond, maxSession), func(c *Config) *time.Duration { return &c.Groups.MinSessionTimeout },
		"shortest session timeout that a member may ask for"),
	entry("groups.maxSessionTimeout", duration(time.Millisecond, maxSession), func(c *Config) *time.Duration { return &c.Groups.MaxSessionTimeout },
		"longest session timeout that a member may ask for"),
	entry("groups.initialRebalanceDelay", duration(0, time.Hour), func(c *Config) *time.Duration { return &c.Groups.InitialRebalanceDelay },
		"how long an empty group waits for more members after its first"),
	entry("groups.maxMembers", whole(1, 100000), func(c *Config) *int { return &c.Groups.MaxMembers },
		"members of one group"),
	entry("groups.maxGroups", whole(1, 100000), func(c *Config) *int { return &c.Groups.MaxGroups },
		"consumer groups"),
	entry("groups.maxBytes", size(1<<20, 1<<30), func(c *Config) *int64 { return &c.Groups.MaxBytes },
		"memory that members and offsets of all groups may take"),

	entry("users", users(), func(c *Config) *[]access.User { return &c.Users },
		"who may connect with NATS, and do what, as a YAML or JSON list; empty: everybody may do everything"),

	entry("nats.listen", listenAddress(), func(c *Config) *string { return &c.NATS.Listen },
		"address for devices that speak NATS"),
	entry("nats.maxPayload", size(1<<10, 32<<20), func(c *Config) *int64 { return &c.NATS.MaxPayload },
		"largest message that a device may publish, headers included"),
	entry("nats.maxConnections", whole(1, 65536), func(c *Config) *int { return &c.NATS.MaxConnections },
		"devices connected at one time"),
	entry("nats.maxPending", size(8<<10, 1<<30, word[int64]{"auto", PendingAuto}), func(c *Config) *int64 { return &c.NATS.MaxPending },
		"what may wait for one that reads too slowly, itself included; auto: a share of memory.limit"),
	entry("nats.tls.cert", path(), func(c *Config) *string { return &c.NATS.TLS.Cert },
		"PEM file with the certificate that NATS clients are shown; empty: without TLS"),
	entry("nats.tls.key", path(), func(c *Config) *string { return &c.NATS.TLS.Key },
		"PEM file with its key"),
	entry("nats.tls.clientCa", path(), func(c *Config) *string { return &c.NATS.TLS.ClientCA },
		"PEM file with the authorities of clients' certificates; empty: clients are not asked for one"),
	entry("nats.tls.verify", boolean(), func(c *Config) *bool { return &c.NATS.TLS.Verify },
		"refuse NATS clients without a certificate"),
	entry("nats.websocket.listen", optionalListen(), func(c *Config) *string { return &c.NATS.WebSocket.Listen },
		"address for browsers that speak NATS over WebSocket; empty: none"),
	entry("nats.websocket.insecure", boolean(), func(c *Config) *bool { return &c.NATS.WebSocket.Insecure },
		"WebSocket without TLS, whatever nats.tls says"),
	entry("nats.leafnodes.listen", optionalListen(), func(c *Config) *string { return &c.NATS.LeafNodes.Listen },
		"address for NATS servers of the site that join as leaf nodes; empty: none"),
	entry("nats.leafnodes.maxConnections", whole(1, 1024), func(c *Config) *int { return &c.NATS.LeafNodes.MaxConnections },
		"leaf nodes connected at one time"),

	entry("mqtt.listen", optionalListen(), func(c *Config) *string { return &c.MQTT.Listen },
		"address for devices that speak MQTT; empty: none"),
	entry("mqtt.maxConnections", whole(1, 65536), func(c *Config) *int { return &c.MQTT.MaxConnections },
		"MQTT devices connected at one time"),
	entry("mqtt.tls.cert", path(), func(c *Config) *string { return &c.MQTT.TLS.Cert },
		"PEM file with the certificate that MQTT clients are shown; empty: without TLS"),
	entry("mqtt.tls.key", path(), func(c *Config) *string { return &c.MQTT.TLS.Key },
		"PEM file with its key"),
	entry("mqtt.tls.clientCa", path(), func(c *Config) *string { return &c.MQTT.TLS.ClientCA },
		"PEM file with the authorities of clients' certificates; empty: clients are not asked for one"),
	entry("mqtt.tls.verify", boolean(), func(c *Config) *bool { return &c.MQTT.TLS.Verify },
		"refuse MQTT clients without a certificate"),

	entry("admin.listen", listenAddress(), func(c *Config) *string { return &c.Admin.Listen },
		"address for metrics and health over HTTP"),
	entry("admin.password", passwordHash(), func(c *Config) *string { return &c.Admin.Password },
		"bcrypt hash, as headwater passwd prints it, of the password that changes the firmware over HTTP, and reads the log of a box; empty: nobody can"),

	entry("memory.limit", size(32<<20, 1<<50, word[int64]{"auto", MemoryAuto}, word[int64]{"none", MemoryNone}), func(c *Config) *int64 { return &c.Memory.Limit },
		"ceiling for the process's memory; auto: the cgroup's limit, none when there is none"),

	entry("log.level", oneOf("debug", "info", "warn", "error"), func(c *Config) *string { return &c.Log.Level },
		"least severe lines that are logged"),
	entry("log.format", oneOf("text", "json"), func(c *Config) *string { return &c.Log.Format },
		"form of the log on standard error"),

	entry("bridge.rules", rules(), func(c *Config) *[]subject.Rule { return &c.Bridge.Rules },
		"which subject goes to which topic, as a YAML or JSON list; the first that matches wins"),
	entry("bridge.commands", commands(), func(c *Config) *[]subject.Command { return &c.Bridge.Commands },
		"which topics' records are published to devices, as a YAML or JSON list"),
	entry("bridge.maxTopics", whole(1, 100000), func(c *Config) *int { return &c.Bridge.MaxTopics },
		"topics that devices may cause, by rules that make a topic's name of the subject"),
	entry("bridge.buffer", size(1<<20, 1<<30, word[int64]{"auto", BufferAuto}), func(c *Config) *int64 { return &c.Bridge.Buffer },
		"devices' messages held in memory until they are on flash; auto: a share of memory.limit"),
	entry("bridge.dedupWindow", duration(0, day), func(c *Config) *time.Duration { return &c.Bridge.DedupWindow },
		"for how long the id of a message is remembered, so that it is not stored again; 0 for not at all"),
	entry("bridge.dedupMemory", size(64<<10, 1<<30, word[int64]{"auto", DedupAuto}), func(c *Config) *int64 { return &c.Bridge.DedupMemory },
		"for message ids, 40 bytes each; auto: a share of memory.limit"),
	entry("bridge.ackTimeout", duration(time.Second, 10*time.Minute), func(c *Config) *time.Duration { return &c.Bridge.AckTimeout },
		"until a message that asks for an answer and is not stored is refused"),

	entry("region.zookeeper", anyText(), func(c *Config) *string { return &c.Region.ZooKeeper },
		"ZooKeeper of the region to join, as host:port,host:port/chroot; empty: none, the broker is alone"),
	entry("region.role", oneOf(RoleGateway, RoleHub), func(c *Config) *string { return &c.Region.Role },
		"hub: may be the controller, and gets replicas; gateway: neither"),
	entry("region.brokerId", brokerID(), func(c *Config) *int32 { return &c.Region.BrokerID },
		"id of this broker, another one at each; auto: as it was before, or a new one from ZooKeeper"),
	entry("region.rack", anyText(), func(c *Config) *string { return &c.Region.Rack },
		"where this broker is: replicas are spread over racks, and consumers read in theirs; empty: nowhere"),
	entry("region.listener", name(), func(c *Config) *string { return &c.Region.Listener },
		"name of the brokers' listener, the same at all"),
	entry("region.sessionTimeout", duration(time.Second, 10*time.Minute), func(c *Config) *time.Duration { return &c.Region.SessionTimeout },
		"silence after which ZooKeeper takes this broker for dead"),
	entry("region.replicaLagTime", duration(time.Second, time.Hour), func(c *Config) *time.Duration { return &c.Region.ReplicaLagTime },
		"a replica that has not caught up for so long is out of sync"),
	entry("region.replicaRate", size(0, 1<<50), func(c *Config) *int64 { return &c.Region.ReplicaRate },
		"bytes a second that throttled replicas may fetch here; 0 is no limit"),
	entry("region.replicationFactor", whole[int16](1, 1000), func(c *Config) *int16 { return &c.Region.ReplicationFactor },
		"replicas of a topic for which nobody says how many"),
	entry("region.offsetsReplicas", whole[int16](1, 1000), func(c *Config) *int16 { return &c.Region.OffsetsReplicas },
		"replicas of __consumer_offsets, when it is made"),
	entry("region.mirrorGroups", anyText(), func(c *Config) *string { return &c.Region.MirrorGroups },
		"groups, as a pattern such as plant-*, whose offsets are copied to ZooKeeper; empty: none"),
	entry("region.zookeeperDigest", anyText(), func(c *Config) *string { return &c.Region.Digest },
		"user:password for ZooKeeper; empty: none"),
	entry("region.zookeeperAcl", boolean(), func(c *Config) *bool { return &c.Region.SetACL },
		"let nobody else write what this broker makes in ZooKeeper"),
	entry("region.zookeeperTls.enabled", boolean(), func(c *Config) *bool { return &c.Region.TLS.Enabled },
		"talk to ZooKeeper over TLS"),
	entry("region.zookeeperTls.ca", path(), func(c *Config) *string { return &c.Region.TLS.CA },
		"PEM file with the authorities of ZooKeeper's certificates; empty: the machine's"),
	entry("region.zookeeperTls.cert", path(), func(c *Config) *string { return &c.Region.TLS.Cert },
		"PEM file with the certificate to show; empty: none"),
	entry("region.zookeeperTls.key", path(), func(c *Config) *string { return &c.Region.TLS.Key },
		"PEM file with its key"),
}

// maxSession is longer than any client waits.
const maxSession = 24 * time.Hour

// maxAge is a round number that milliseconds and time.Duration both hold.
const maxAge = 36500 * day

func entry[T any](name string, k kind[T], at func(*Config) *T, doc string) key {
	made := key{
		name: name,
		doc:  doc,
		parse: func(c *Config, text string) error {
			v, err := k.parse(text)
			if err == nil {
				*at(c) = v
			}
			return err
		},
		text: func(c *Config) string { return k.format(*at(c)) },
	}
	if k.node != nil {
		made.node = func(c *Config) *yaml.Node { return k.node(*at(c)) }
	}
	return made
}

// envPrefix begins the name of every variable that is read.
const envPrefix = "HEADWATER_"

// variable is the environment's name for k: kafka.autoCreateTopics is
// HEADWATER_KAFKA_AUTO_CREATE_TOPICS.
func (k key) variable() string {
	var b strings.Builder
	b.WriteString(envPrefix)
	for _, c := range k.name {
		if c == '.' {
			b.WriteByte('_')
			continue
		}
		if unicode.IsUpper(c) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(c))
	}
	return b.String()
}
