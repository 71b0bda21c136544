package natsd

import (
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/bridge/access"
)

// authenticator decides for nats-server who is let in, and what it may do. It asks one
// list for clients, WebSocket clients and leaf nodes alike.
type authenticator struct {
	list *access.List
	open chan struct{} // closed once others than the bridge are let in

	leafUser, leafPassword string     // of the bridge's own Leaf
	leafNodes              func() int // how many are connected, that one included
	maxLeafNodes           int        // of others; 0: the port is not theirs

	refused *prometheus.CounterVec // by why
}

// The reasons for which logins are refused.
const (
	refusedProof = "credentials" // not known, or wrong
	refusedBusy  = "busy"        // too many passwords to check
	refusedLeafs = "leafnodes"   // more than are allowed
	refusedEarly = "starting"    // for too long
)

func newAuthenticator(s *Server) *authenticator {
	a := &authenticator{
		list: s.cfg.Users, open: make(chan struct{}),
		leafUser: s.leafUser, leafPassword: s.leafPassword,
		leafNodes: func() int { return s.nats.NumLeafNodes() },
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_bridge_refused_logins_total",
			Help: "NATS connections that were refused, by reason.",
		}, []string{"reason"}),
	}
	if s.leafNodes.on() {
		a.maxLeafNodes = s.cfg.MaxLeafNodes
	}
	for _, reason := range []string{refusedProof, refusedBusy, refusedLeafs, refusedEarly} {
		a.refused.WithLabelValues(reason)
	}
	if reg := s.cfg.Registerer; reg != nil {
		reg.MustRegister(a.refused)
	}
	return a
}

// Check is called by nats-server for each CONNECT, from the connection's own goroutine,
// which it may hold up.
func (a *authenticator) Check(c server.ClientAuthentication) bool {
	if a.isOurs(c) {
		c.RegisterUser(&server.User{}) // without Permissions: may do all
		return true
	}
	if reason := a.check(c); reason != "" {
		a.refused.WithLabelValues(reason).Inc()
		return false
	}
	return true
}

// isOurs tells the bridge's connections: nobody else can have one inside the process,
// and nobody else has the password.
func (a *authenticator) isOurs(c server.ClientAuthentication) bool {
	if addr := c.RemoteAddress(); addr != nil && addr.Network() == "pipe" {
		return true
	}
	opts := c.GetOpts()
	return c.Kind() == server.LEAF && opts.Username == a.leafUser &&
		subtle.ConstantTimeCompare([]byte(opts.Password), []byte(a.leafPassword)) == 1
}

// check returns why the connection is refused.
func (a *authenticator) check(c server.ClientAuthentication) (reason string) {
	if c.Kind() == server.LEAF && a.maxLeafNodes == 0 {
		return refusedLeafs
	}
	select {
	case <-a.open:
	case <-time.After(startTimeout):
		return refusedEarly
	}
	id, err := a.identify(c)
	switch {
	case errors.Is(err, access.ErrBusy):
		return refusedBusy
	case err != nil:
		return refusedProof
	case c.Kind() == server.LEAF && a.leafNodes()-1 >= a.maxLeafNodes: // but for those that come at the very same time
		return refusedLeafs
	}
	c.RegisterUser(&server.User{Username: id.Name(), Permissions: permissions(id)})
	if opts := c.GetOpts(); c.Kind() == server.LEAF && opts.Import != nil {
		// The other server is told, so as to spare us messages. It would take what it may
		// not hear for what it may not send, too: requests to us. We hold it to it here.
		opts.Import = &server.SubjectPermission{Allow: opts.Import.Allow}
	}
	return ""
}

// identify takes the first proof that the connection gives: who shows a certificate may
// still log in as another, by a key or a password.
func (a *authenticator) identify(c server.ClientAuthentication) (*access.Identity, error) {
	opts := c.GetOpts()
	switch {
	case a.list.Empty():
		return a.list.Anyone(), nil
	case opts.Nkey != "":
		return a.list.NKey(opts.Nkey, c.GetNonce(), opts.Sig)
	case opts.Username != "":
		return a.list.Password(opts.Username, opts.Password)
	}
	if state := c.GetTLSConnectionState(); state != nil && len(state.PeerCertificates) > 0 {
		return a.list.Certificate(state.PeerCertificates[0]) // the handshake has verified it
	}
	return nil, access.ErrRefused
}

// permissions are what id may do in nats-server's form.
func permissions(id *access.Identity) *server.Permissions {
	form := func(s access.Subjects) *server.SubjectPermission {
		if len(s.Deny) == 0 && slices.Contains(s.Allow, ">") {
			return nil // all, and nothing to look up for each message
		}
		return &server.SubjectPermission{Allow: s.Allow, Deny: s.Deny} // an empty list, not nil, allows nothing
	}
	return &server.Permissions{Publish: form(id.Publish()), Subscribe: form(id.Subscribe())}
}
