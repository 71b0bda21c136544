package netup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

const (
	dhcpTimeout = 2 * time.Second // of the first try, doubling
	dhcpTries   = 3
	firstPause  = time.Second // between rounds of tries, doubling
	lastPause   = 30 * time.Second
)

// lease holds the interface on a lease until ctx is done: it gets one, renews it, and
// gives the address up when the lease has expired or the server says no. With ctx the
// address stays: the cable may be put in again.
func (r *runner) lease(ctx context.Context, l link) {
	client, err := nclient4.New(l.name, nclient4.WithTimeout(dhcpTimeout), nclient4.WithRetry(dhcpTries))
	if err != nil {
		r.log.Error("DHCP not started", "interface", l.name, "err", err)
		pause(ctx, lastPause)
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		lease := r.acquire(ctx, client, l)
		if lease == nil {
			return
		}
		if err := r.hold(ctx, client, l, lease); ctx.Err() == nil {
			r.log.Warn("lease lost", "interface", l.name, "err", err)
			r.leave(l)
			pause(ctx, firstPause)
		}
	}
}

// acquire asks until there is a lease that can be used; nil means that ctx is done.
func (r *runner) acquire(ctx context.Context, client *nclient4.Client, l link) *nclient4.Lease {
	wait := firstPause
	for told := false; ; wait = min(2*wait, lastPause) {
		lease, err := client.Request(ctx, r.options()...)
		if err == nil {
			_, err = leased(lease.ACK, lease.CreationTime)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			return lease
		case !told:
			r.log.Warn("no lease had; it is asked for again and again", "interface", l.name, "err", err)
			told = true
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
}

// hold applies a lease, and each that renews it, until it is lost or ctx is done.
func (r *runner) hold(ctx context.Context, client *nclient4.Client, l link, lease *nclient4.Lease) error {
	for {
		t, err := leased(lease.ACK, lease.CreationTime)
		if err != nil {
			return err
		}
		if err := r.apply(l, t); err != nil {
			return err
		}
		if lease, err = r.renew(ctx, client, lease, t.times); err != nil {
			return err
		}
	}
}

var errExpired = errors.New("it has expired")

// renew returns the lease once it has been renewed.
func (r *runner) renew(ctx context.Context, client *nclient4.Client, lease *nclient4.Lease, t times) (*nclient4.Lease, error) {
	for {
		wait, ok := t.next(time.Now())
		if !ok {
			return nil, errExpired
		}
		if !pause(ctx, wait) {
			return nil, ctx.Err()
		}
		renewed, err := client.Renew(ctx, lease, r.options()...)
		if err == nil {
			return renewed, nil
		}
		if nak := (*nclient4.ErrNak)(nil); errors.As(err, &nak) {
			return nil, err
		}
	}
}

func (r *runner) options() []dhcpv4.Modifier {
	wanted := dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionDomainNameServer,
		dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionNTPServers)
	options := []dhcpv4.Modifier{wanted}
	if r.hostname != "" {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptHostName(r.hostname)))
	}
	return options
}

// domain is a name that may stand in the resolver's file: it comes from the network.
var domain = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$`)

// leased reads what a server acknowledged. Without an address it is an error; all else
// that is not of use is passed over.
func leased(ack *dhcpv4.DHCPv4, got time.Time) (terms, error) {
	var t terms
	address, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || address.IsUnspecified() || address.IsMulticast() || address.IsLoopback() {
		return t, fmt.Errorf("the server leased %v", ack.YourIPAddr)
	}
	bits, size := ack.SubnetMask().Size()
	if size != 32 || bits == 0 {
		bits, _ = ack.YourIPAddr.DefaultMask().Size()
	}
	t.address = netip.PrefixFrom(address, bits)
	t.routes = routesOf(ack, t.address)
	t.dns = addresses(ack.DNS())
	for _, server := range addresses(ack.NTPServers()) {
		t.ntp = append(t.ntp, server.String())
	}
	names := []string{ack.DomainName()}
	if search := ack.DomainSearch(); search != nil && len(search.Labels) > 0 {
		names = search.Labels
	}
	for _, name := range names[:min(len(names), maxSearch)] {
		if domain.MatchString(name) {
			t.search = append(t.search, name)
		}
	}
	t.times = timesOf(got, ack.IPAddressRenewalTime(0), ack.IPAddressRebindingTime(0), ack.IPAddressLeaseTime(time.Hour))
	return t, nil
}

const maxRoutes = 32

// routesOf are those that the server lists, or else the one by its router (RFC 3442).
func routesOf(ack *dhcpv4.DHCPv4, address netip.Prefix) []route {
	var out []route
	listed := ack.ClasslessStaticRoute()
	for _, said := range listed[:min(len(listed), maxRoutes)] {
		to, ok := netip.AddrFromSlice(said.Dest.IP.To4())
		via, okVia := netip.AddrFromSlice(said.Router.To4())
		bits, _ := said.Dest.Mask.Size()
		if !ok || !okVia {
			continue
		}
		if via.IsUnspecified() {
			via = netip.Addr{}
		}
		out = append(out, route{netip.PrefixFrom(to, bits).Masked(), via})
	}
	if len(out) > 0 {
		return out
	}
	if routers := addresses(ack.Router()); len(routers) > 0 {
		return routesVia(routers[0], address)
	}
	return nil
}

func addresses(ips []net.IP) (out []netip.Addr) {
	for _, ip := range ips[:min(len(ips), maxServers)] {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok && !a.IsUnspecified() {
			out = append(out, a)
		}
	}
	return out
}
