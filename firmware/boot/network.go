package boot

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/headwater/headwater/firmware/boot/netup"
)

// addressLimit is how long the first start waits for an address: without one Kafka
// clients would be told a name that means nothing to them.
const addressLimit = 15 * time.Second

// network is what the network's goroutine tells the others.
type network struct {
	joined chan struct{} // closed once there is an address
	moved  chan struct{} // holds one when headwater serve must be told another address
	asked  chan struct{} // holds one when the time should be asked for

	mu      sync.Mutex // guards all below
	state   netup.State
	serve   Serve        // what runs, or will
	address netip.Prefix // that it was started with
	started bool
}

func newNetwork() *network {
	return &network{joined: make(chan struct{}), moved: make(chan struct{}, 1), asked: make(chan struct{}, 1)}
}

// set takes what the box is joined by now. An address that is gone changes nothing for
// who runs: it comes back as it was, or another does.
func (n *network) set(state netup.State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state = state
	if !state.Address.IsValid() {
		return
	}
	select {
	case <-n.joined:
	default:
		close(n.joined)
	}
	wake(n.asked)
	if n.started && advertise(n.serve, state.Address) != advertise(n.serve, n.address) {
		wake(n.moved)
	}
}

// start returns the address to start headwater serve with, by whose settings it is
// known later whether another address matters.
func (n *network) start(serve Serve) netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.moved: // it is told now
	default:
	}
	n.serve, n.started = serve, true
	if n.state.Address.IsValid() {
		n.address = n.state.Address
	}
	return n.address
}

// timeServers are those that the network told of.
func (n *network) timeServers() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.NTP
}

// wake puts one into a channel that holds one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// awaitAddress waits until the box has an address, if that matters to who is started.
func (b *box) awaitAddress(ctx context.Context) {
	if advertise(b.serve, anyAddress) == "" {
		return
	}
	b.guard.well(addressLimit + stageLimit)
	timer := time.NewTimer(addressLimit)
	defer timer.Stop()
	select {
	case <-b.network.joined:
	case <-timer.C:
		b.log.Warn("no address yet; headwater serve starts without, and again when there is one", "waited", addressLimit)
	case <-ctx.Done():
	}
}

// anyAddress stands for one that is not known yet.
var anyAddress = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 24)
