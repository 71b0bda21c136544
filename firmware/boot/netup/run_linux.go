package netup

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/headwater/headwater/firmware/boot/site"
)

// lookEvery is how often links are looked at though the kernel said nothing.
const lookEvery = 10 * time.Second

// runner joins one interface at a time.
type runner struct {
	network  site.Network
	hostname string
	resolv   string // the resolver's file
	log      *slog.Logger
	changed  func(State)
	state    State
	last     string        // the interface that was joined last
	news     chan struct{} // holds one when a link may have changed
}

// Loopback brings up the interface by which a box talks to itself.
func Loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("interface lo: %w", err)
	}
	return nil
}

// Run keeps the box joined until ctx is done, and calls changed from one goroutine
// each time it is joined in another way, or not any more. resolv is the resolver's
// file, written in place.
func Run(ctx context.Context, s site.Site, resolv string, log *slog.Logger, changed func(State)) {
	r := &runner{network: s.Network, hostname: s.Hostname, resolv: resolv, log: log, changed: changed, news: make(chan struct{}, 1)}
	var listener sync.WaitGroup
	defer listener.Wait()
	listener.Go(func() { r.listen(ctx) })
	for ctx.Err() == nil {
		l, ok := r.await(ctx)
		if !ok {
			return
		}
		r.join(ctx, l)
	}
}

// await brings links up until one of them has a cable in it.
func (r *runner) await(ctx context.Context) (link, bool) {
	for told := false; ; told = true {
		links, err := r.links()
		if l, ok := pick(links, r.last); ok {
			return l, true
		}
		if !told {
			r.log.Info("waits for a cable", "interface", r.network.Interface, "candidates", len(links), "err", err)
		}
		if !r.awaitNews(ctx) {
			return link{}, false
		}
	}
}

// join keeps l joined until its cable is out, or ctx is done.
func (r *runner) join(ctx context.Context, l link) {
	ctx, cancel := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer cancel()
	watcher.Go(func() {
		defer cancel()
		for r.awaitNews(ctx) {
			links, err := r.links()
			if now, ok := pick(links, l.name); err == nil && (!ok || now.index != l.index) {
				r.log.Warn("cable out", "interface", l.name)
				return
			}
		}
	})
	if r.last != "" && r.last != l.name {
		r.leave(link{name: r.last})
	}
	r.last = l.name
	if r.network.DHCP {
		r.lease(ctx, l)
		return
	}
	if err := r.apply(l, fixed(r.network)); err != nil {
		r.log.Error("address not set", "interface", l.name, "err", err)
		pause(ctx, lookEvery)
		return
	}
	<-ctx.Done()
}

// links brings up those that may be joined, and returns them.
func (r *runner) links() ([]link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var seen []link
	for _, one := range all {
		a := one.Attrs()
		_, err := os.Stat("/sys/class/net/" + a.Name + "/device")
		seen = append(seen, link{
			name: a.Name, index: a.Index, loopback: a.Flags&net.FlagLoopback != 0, hardware: err == nil, ethernet: len(a.HardwareAddr) == 6,
			up: a.Flags&net.FlagUp != 0, carrier: a.Flags&net.FlagRunning != 0,
		})
	}
	out := candidates(seen, r.network.Interface)
	for _, l := range out {
		if !l.up {
			if err := netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.index}}); err != nil {
				r.log.Warn("interface not brought up", "interface", l.name, "err", err)
			}
		}
	}
	return out, nil
}

// awaitNews returns when a link may have changed; false means that ctx is done.
func (r *runner) awaitNews(ctx context.Context) bool {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-r.news:
		return true
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// listen makes news of what the kernel says of links until ctx is done. Without it
// there is awaitNews's timer.
func (r *runner) listen(ctx context.Context) {
	done, updates := make(chan struct{}), make(chan netlink.LinkUpdate, 16)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		r.log.Warn("changes of interfaces are not told; they are looked at now and then", "err", err)
		return
	}
	defer context.AfterFunc(ctx, func() { close(done) })()
	for range updates { // closed once done is
		select {
		case r.news <- struct{}{}:
		default:
		}
	}
}

// apply gives l what t says, and takes away other addresses of the same kind.
func (r *runner) apply(l link, t terms) error {
	device, err := netlink.LinkByName(l.name)
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: ipNet(t.address)}
	if err := removeAddresses(device, address); err != nil {
		return err
	}
	if err := netlink.AddrReplace(device, address); err != nil {
		return fmt.Errorf("set the address %s: %w", t.address, err)
	}
	for _, to := range t.routes {
		route := &netlink.Route{LinkIndex: device.Attrs().Index, Dst: ipNet(to.to), Scope: netlink.SCOPE_LINK}
		if to.via.IsValid() {
			route.Gw, route.Scope = to.via.AsSlice(), netlink.SCOPE_UNIVERSE
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("set the route to %s by %s: %w", to.to, to.via, err)
		}
	}
	if len(r.network.DNS) > 0 {
		t.dns = r.network.DNS
	}
	if err := os.WriteFile(r.resolv, resolvConf(t), 0o644); err != nil {
		return err
	}
	now := State{l.name, t.address, t.ntp}
	if reflect.DeepEqual(now, r.state) {
		return nil // a lease was renewed
	}
	r.state = now
	r.log.Info("joined the network", "interface", l.name, "address", t.address, "dns", t.dns, "lease", t.times.expire)
	r.changed(now)
	return nil
}

// leave takes l's addresses away.
func (r *runner) leave(l link) {
	device, err := netlink.LinkByName(l.name)
	if err == nil {
		err = removeAddresses(device, nil)
	}
	if err != nil {
		r.log.Warn("address not taken away", "interface", l.name, "err", err)
	}
	r.state = State{}
	r.changed(r.state)
}

// removeAddresses takes all IPv4 addresses away but one.
func removeAddresses(device netlink.Link, keep *netlink.Addr) error {
	have, err := netlink.AddrList(device, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, a := range have {
		if keep != nil && a.IPNet.String() == keep.IPNet.String() {
			continue
		}
		if err := netlink.AddrDel(device, &a); err != nil {
			return err
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// pause waits; false means that ctx is done.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
