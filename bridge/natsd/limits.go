package natsd

import (
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// What one connection may take of the server, and for how long it may do nothing.
const (
	// maxControlLine bounds a line of the protocol in bytes: a subject and a reply with
	// their numbers. It is nats-server's own default, which devices know.
	maxControlLine = server.MAX_CONTROL_LINE_SIZE

	// maxSubscriptions is far above what devices need. Our own connections are held to
	// it too: nats-server has one bound for all.
	maxSubscriptions = 4096

	// writeDeadline is how long a client may take nothing of what is written to it.
	writeDeadline = 10 * time.Second

	// A client that is silent is asked for a sign of life, and given up after two that
	// did not come: within three minutes. So is one that never said who it is.
	pingInterval = time.Minute
	maxPingsOut  = 2

	// ownConnections are the bridge's own, beside the devices': for messages and for the
	// JetStream API.
	ownConnections = 2
)

// limit bounds what clients may take.
func (c ServerConfig) limit(o *server.Options) {
	o.MaxPayload = c.MaxPayload
	o.MaxConn = c.MaxConnections + ownConnections
	o.MaxPending = c.MaxPendingBytes
	// What there is no room for is let go, in place of stalling whoever publishes it:
	// see docs/decisions/crowds.md.
	o.NoFastProducerStall = true
	o.MaxControlLine = maxControlLine
	o.MaxSubs = maxSubscriptions
	o.WriteDeadline = writeDeadline
	o.PingInterval = pingInterval
	o.MaxPingsOut = maxPingsOut
}
