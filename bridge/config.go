package bridge

import (
	"errors"
	"fmt"
	"time"

	"github.com/headwater/headwater/bridge/ingest"
	"github.com/headwater/headwater/bridge/natsd"
	"github.com/headwater/headwater/bridge/subject"
)

// Config is the bridge's. Sizes are in bytes.
type Config struct {
	Listen          string         // host:port where devices connect with NATS
	Rules           []subject.Rule // which subjects are taken, and where to
	MaxPayload      int32          // of a NATS message with its headers
	MaxConnections  int            // of devices
	MaxPendingBytes int64          // for a NATS client that reads too slowly; at least PendingPayloads of MaxPayload
	BufferBytes     int64          // of messages between the devices and the log
	MaxBatchBytes   int            // the largest record batch that the broker takes
	StopTimeout     time.Duration  // for what was taken to become durable at the end

	// Permanent tells an error of the broker that the same message would meet
	// again, however often it is sent. Nil: none is.
	Permanent func(error) bool
	// Full tells that the broker has no room for a message. Nil: it always has.
	Full func(error) bool
	// Crowded tells that devices may cause no more topics. Nil: they always may.
	Crowded func(error) bool
	// Unknown tells that the broker has no such partition, OutOfRange that an offset is
	// outside its log. Nil: no error does.
	Unknown, OutOfRange func(error) bool
}

// DefaultConfig suits a gateway with some hundred devices.
func DefaultConfig() Config {
	return Config{
		Listen:          "127.0.0.1:4222",
		Rules:           subject.DefaultRules(),
		MaxPayload:      1 << 20,
		MaxConnections:  1024,
		MaxPendingBytes: 32 << 20,
		BufferBytes:     16 << 20,
		MaxBatchBytes:   1<<20 + 12, // Kafka's max.message.bytes
		StopTimeout:     10 * time.Second,
	}
}

// PendingPayloads is how many of the largest messages must fit into what waits for a
// client: two in the quarter that is left when messages begin to be let go.
const PendingPayloads = 8

const (
	leastPayload = 1 << 10
	mostPayload  = 64 << 20 // nats-server's own bound
)

// Validate reports everything that is wrong with c at once.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, v ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, v...))
		}
	}
	check(c.Listen != "", "listen: it is empty, want host:port")
	check(c.MaxPayload >= leastPayload && c.MaxPayload <= mostPayload, "max payload: %d bytes, want from 1 KiB to 64 MiB", c.MaxPayload)
	check(c.MaxConnections >= 1, "max connections: %d, want 1 or more", c.MaxConnections)
	check(c.MaxPendingBytes >= PendingPayloads*int64(c.MaxPayload), "max pending: %d bytes, want %d times the max payload or more", c.MaxPendingBytes, PendingPayloads)
	check(c.MaxBatchBytes >= leastPayload, "max batch: %d bytes, want 1 KiB or more", c.MaxBatchBytes)
	check(c.BufferBytes >= 2*int64(c.MaxBatchBytes), "buffer: %d bytes, want twice the largest batch or more", c.BufferBytes)
	check(c.StopTimeout > 0, "stop timeout: %v, want more than 0", c.StopTimeout)
	check(len(c.Rules) > 0, "rules: there are none")
	if err := subject.Validate(c.Rules); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) server() natsd.ServerConfig {
	return natsd.ServerConfig{
		Listen:          c.Listen,
		MaxPayload:      c.MaxPayload,
		MaxConnections:  c.MaxConnections,
		MaxPendingBytes: c.MaxPendingBytes,
	}
}

func (c Config) ingest() ingest.Config {
	return ingest.Config{
		BufferBytes:   c.BufferBytes,
		MaxBatchBytes: c.MaxBatchBytes,
		StopTimeout:   c.StopTimeout,
		Permanent:     c.Permanent,
		Full:          c.Full,
		Crowded:       c.Crowded,
	}
}

// subjects are the rules' patterns, which are also their names in metrics.
func (c Config) subjects() []string {
	var subjects []string
	for _, r := range c.Rules {
		subjects = append(subjects, r.Subject)
	}
	return subjects
}
