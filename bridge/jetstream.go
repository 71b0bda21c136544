package bridge

import (
	"github.com/headwater/headwater/bridge/ingest"
	"github.com/headwater/headwater/bridge/mqtt"
	"github.com/headwater/headwater/bridge/natsd"
	"github.com/headwater/headwater/bridge/pull"
	"github.com/headwater/headwater/bridge/subject"
)

// Broker is what the bridge needs of the broker: somewhere to put batches, the
// records that are there, consumers' positions, the state of MQTT clients, and what is
// known of the time.
type Broker interface {
	ingest.Appender
	ingest.Store
	pull.Reader
	pull.Positions
	mqtt.Store

	// WallSynchronized reports whether the time of day is known to be right. It is asked
	// with every message, and must not wait.
	WallSynchronized() bool
}

// api is the JetStream API with the connections that it speaks on: its own, so that
// devices' messages do not hold it up.
type api struct {
	service *pull.Service
	conn    *natsd.Conn
	leaf    *natsd.Leaf // for deliveries that ask for an acknowledgement
}

func (b *Bridge) newAPI(broker Broker) *api {
	requests := &requests{}
	leafConfig := b.server.LeafConfig()
	leafConfig.Registerer = b.reg
	a := &api{
		conn: natsd.NewConn(natsd.ConnConfig{
			Name:       "jetstream",
			Dial:       b.server.Dial,
			Subjects:   pull.Subjects(pull.DefaultDomain),
			MaxPayload: int(b.cfg.MaxPayload),
			Delivered:  b.server.Delivered,
			Handler:    requests,
			Log:        b.log,
			Registerer: b.reg,
		}),
		leaf: natsd.NewLeaf(leafConfig),
	}
	cfg := b.cfg.pull(b.table)
	cfg.Interest = b.server.Interest
	a.service = pull.New(cfg, broker, broker, speech{a.conn, a.leaf}, b.log, b.reg)
	requests.Service = a.service
	return a
}

// pull is the API's part of the configuration.
func (c Config) pull(table *subject.Table) pull.Config {
	var route subject.Route // Stored is called by one goroutine
	return pull.Config{
		MaxPayload: int(c.MaxPayload),
		Unknown:    c.Unknown,
		OutOfRange: c.OutOfRange,
		// So often that a box which is off for three quarters of that time keeps them.
		RefreshPositions: c.PositionsRetention / 4,
		MetadataBytes:    c.MaxPositionMetadata,
		NoDurable:        c.NoDurable,
		Subjects:         table.Leading,
		Stored: func(subject []byte) bool {
			_ = table.Route(subject, &route) // a rule that cannot place a subject takes it all the same
			return route.Rule >= 0
		},
	}
}

// speech is a pull.Wire.
type speech struct {
	*natsd.Conn
	leaf *natsd.Leaf
}

// Deliver implements pull.Wire.
func (s speech) Deliver(inbox, ackReply, subject, headers, payload []byte) error {
	if len(ackReply) == 0 {
		return s.leaf.Status(inbox, headers)
	}
	return s.leaf.Deliver(inbox, ackReply, subject, headers, payload)
}

// requests hands the connection's messages to the API.
type requests struct{ *pull.Service }

// Take takes m.
func (r *requests) Take(m *natsd.Message) {
	r.Service.Take(&pull.Request{Subject: m.Subject, Reply: m.Reply, Headers: m.Headers, Payload: m.Payload})
}
