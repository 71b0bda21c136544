package bridge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/bridge/certs"
	"github.com/headwater/headwater/bridge/ingest"
	"github.com/headwater/headwater/bridge/natsd"
	"github.com/headwater/headwater/bridge/subject"
)

// Config is the bridge's. Sizes are in bytes.
type Config struct {
	Listen             string            // host:port where devices connect with NATS
	Rules              []subject.Rule    // which subjects are taken, and where to
	MaxPayload         int32             // of a NATS message with its headers
	MaxConnections     int               // of devices
	MaxPendingBytes    int64             // for a NATS client that reads too slowly; at least PendingPayloads of MaxPayload
	MaxPendingTotal    int64             // for all NATS clients together, before the slowest are disconnected
	BufferBytes        int64             // of messages between the devices and the log
	AckTimeout         time.Duration     // until a message that asks for an answer and is not stored is given up
	MaxBatchBytes      int               // the largest record batch that the broker takes
	DedupWindow        time.Duration     // for how long a message id is remembered; 0 for not at all
	DedupBytes         int64             // for message ids
	Users              []access.User     // who may connect; empty: everybody
	TLS                certs.Files       // of all ports
	WebSocket          string            // host:port for WebSocket; empty: none
	WebSocketPlain     bool              // without TLS, whatever TLS says
	LeafNodes          string            // host:port for other NATS servers; empty: none
	MaxLeafNodes       int               // of those
	Commands           []subject.Command // which topics go to devices
	MQTT               string            // host:port where devices connect with MQTT; empty: none
	MQTTTLS            certs.Files       // of that port
	MaxMQTTConnections int               // of MQTT devices
	StopTimeout        time.Duration     // for what was taken to become durable at the end

	// Permanent tells an error of the broker that the same message would meet
	// again, however often it is sent. Nil: none is.
	Permanent func(error) bool
	// NextOffset tells an error of the broker's AppendAt that says that the partition
	// ends elsewhere, and where. Nil: none does.
	NextOffset func(error) (offset int64, ok bool)
	// Full tells that the broker has no room for a message. Nil: it always has.
	Full func(error) bool
	// Crowded tells that devices may cause no more topics. Nil: they always may.
	Crowded func(error) bool
	// Unknown tells that the broker has no such partition, OutOfRange that an offset is
	// outside its log. Nil: no error does.
	Unknown, OutOfRange func(error) bool

	// PositionsRetention is how long the broker keeps a consumer's position that is
	// not committed again. 0: for a day or longer.
	PositionsRetention time.Duration
	// NoDurable is why there are no durable consumers. Empty: there are.
	NoDurable string
	// MaxPositionMetadata is how much text it keeps beside one, in bytes. 0: 4 KiB.
	MaxPositionMetadata int
}

// DefaultConfig suits a gateway with some hundred devices.
func DefaultConfig() Config {
	return Config{
		Listen:             "127.0.0.1:4222",
		Rules:              subject.DefaultRules(),
		MaxPayload:         1 << 20,
		MaxConnections:     1024,
		MaxLeafNodes:       16,
		MaxMQTTConnections: 1024,
		MaxPendingBytes:    32 << 20,
		MaxPendingTotal:    64 << 20,
		BufferBytes:        16 << 20,
		MaxBatchBytes:      1<<20 + 12,      // Kafka's max.message.bytes
		DedupWindow:        2 * time.Minute, // JetStream's
		DedupBytes:         4 << 20,
		AckTimeout:         30 * time.Second,
		StopTimeout:        10 * time.Second,
	}
}

// PendingPayloads is how many of the largest messages must fit into what waits for a
// client: two in the quarter that is left when messages begin to be let go.
const PendingPayloads = 8

const (
	leastPayload = 1 << 10
	leastDedup   = 64 << 10
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
	check(c.MaxPendingTotal >= c.MaxPendingBytes, "max pending of all: %d bytes, want what one may have or more", c.MaxPendingTotal)
	check(c.MaxBatchBytes >= leastPayload, "max batch: %d bytes, want 1 KiB or more", c.MaxBatchBytes)
	check(c.BufferBytes >= 2*int64(c.MaxBatchBytes), "buffer: %d bytes, want twice the largest batch or more", c.BufferBytes)
	check(c.DedupWindow >= 0, "dedup window: %v, want 0 or more", c.DedupWindow)
	check(c.DedupWindow == 0 || c.DedupBytes >= leastDedup, "dedup memory: %d bytes, want 64 KiB or more", c.DedupBytes)
	check(c.MaxLeafNodes >= 1, "max leaf nodes: %d, want 1 or more", c.MaxLeafNodes)
	check(c.MaxMQTTConnections >= 1, "max MQTT connections: %d, want 1 or more", c.MaxMQTTConnections)
	check(c.AckTimeout > 0, "ack timeout: %v, want more than 0", c.AckTimeout)
	check(c.StopTimeout > 0, "stop timeout: %v, want more than 0", c.StopTimeout)
	check(len(c.Rules) > 0, "rules: there are none")
	if err := subject.Validate(c.Rules); err != nil {
		errs = append(errs, err)
	}
	if err := subject.ValidateCommands(c.Commands); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// server is the embedded server's part; users and tls are what c says, taken apart.
func (c Config) server(users *access.List, tls *tls.Config, reg prometheus.Registerer) natsd.ServerConfig {
	return natsd.ServerConfig{
		Users:           users,
		TLS:             tls,
		WebSocket:       c.WebSocket,
		WebSocketPlain:  c.WebSocketPlain,
		LeafNodes:       c.LeafNodes,
		MaxLeafNodes:    c.MaxLeafNodes,
		Registerer:      reg,
		Listen:          c.Listen,
		MaxPayload:      c.MaxPayload,
		MaxConnections:  c.MaxConnections,
		MaxPendingBytes: c.MaxPendingBytes,
		MaxPendingTotal: c.MaxPendingTotal,
	}
}

func (c Config) ingest(broker Broker) ingest.Config {
	return ingest.Config{
		AckTimeout:    c.AckTimeout,
		BufferBytes:   c.BufferBytes,
		MaxBatchBytes: c.MaxBatchBytes,
		StopTimeout:   c.StopTimeout,
		DedupWindow:   c.DedupWindow,
		DedupBytes:    c.DedupBytes,
		Store:         broker,
		Synchronized:  broker.WallSynchronized,
		NextOffset:    c.NextOffset,
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
