package group

import "time"

// Config is what groups may do and take. Kafka's name stands beside what Kafka has.
type Config struct {
	Clustered         bool          // other brokers have groups too: this one has those of the partitions that Lead names
	Partitions        int32         // offsets.topic.num.partitions: when the topic is made
	ReplicationFactor int16         // offsets.topic.replication.factor: likewise; 0 for that of other topics
	StoreTimeout      time.Duration // offsets.commit.timeout.ms; 0: Kafka's 5 s in a cluster, else as long as it takes
	MinSessionTimeout time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout time.Duration // group.max.session.timeout.ms
	InitialDelay      time.Duration // group.initial.rebalance.delay.ms: an empty group waits for its first members
	MaxMembers        int           // group.max.size: of one group
	MaxGroups         int
	MaxBytes          int64         // that members and offsets of all groups take in memory, about
	OffsetsRetention  time.Duration // offsets.retention.minutes
	MaxMetadataBytes  int           // offset.metadata.max.bytes
}

// DefaultConfig has Kafka's values where Kafka has them, but for the number of
// partitions and the limits, which suit a small box.
func DefaultConfig() Config {
	return Config{
		Partitions:        1,
		MinSessionTimeout: 6 * time.Second,
		MaxSessionTimeout: 30 * time.Minute,
		InitialDelay:      3 * time.Second,
		MaxMembers:        1000,
		MaxGroups:         1000,
		MaxBytes:          16 << 20,
		OffsetsRetention:  7 * 24 * time.Hour,
		MaxMetadataBytes:  4096,
	}
}

// defaultStoreTimeout is how long a cluster may take to store a commit: a follower
// that has stopped keeps it waiting until it is out of sync.
const defaultStoreTimeout = 5 * time.Second

// expireEvery is how often expired offsets are looked for
// (offsets.retention.check.interval.ms).
const expireEvery = 10 * time.Minute

// maxIDBytes bounds every id and name in a request: a record has two bytes for
// their length, and a member's id is made of its client's.
const maxIDBytes = 8 << 10
