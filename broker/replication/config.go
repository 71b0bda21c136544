package replication

import "time"

// Config is how followers fetch. The names in the comments are Kafka's.
type Config struct {
	Self              int32
	BrokerEpoch       func() int64  // of this broker's registration; -1: unknown
	PerLeader         int           // num.replica.fetchers
	MaxWait           time.Duration // replica.fetch.wait.max.ms
	MinBytes          int32         // replica.fetch.min.bytes
	MaxBytes          int32         // replica.fetch.response.max.bytes, but for one larger batch
	PartitionMaxBytes int32         // replica.fetch.max.bytes
	MinPause          time.Duration // of a partition that was refused, the first time
	MaxPause          time.Duration // replica.fetch.backoff.ms, where MinPause has doubled to after a while
}

// DefaultConfig is Kafka's, with shorter first pauses: that a new leader does not
// know yet that it is one is over soon.
func DefaultConfig(self int32) Config {
	return Config{
		Self:              self,
		BrokerEpoch:       func() int64 { return -1 },
		PerLeader:         1,
		MaxWait:           500 * time.Millisecond,
		MinBytes:          1,
		MaxBytes:          10 << 20,
		PartitionMaxBytes: 1 << 20,
		MinPause:          50 * time.Millisecond,
		MaxPause:          time.Second,
	}
}

// pauseAfter is how long to leave alone what has failed so many times in a row.
func (c Config) pauseAfter(failures int) time.Duration {
	return min(c.MinPause<<min(failures-1, 16), c.MaxPause)
}
