// Package netup joins a box to its network: by DHCP, renewed as long as the box runs,
// or with an address that the site file says. It waits for a cable, and goes on when
// one is put in later, or into another socket.
//
// What may be joined, what a lease means and when it is renewed is pure; the kernel is
// asked by netlink, and only on Linux. Run is called once and waits for all it started.
// IPv6 addresses are the kernel's own doing (router advertisements).
package netup

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/headwater/headwater/firmware/boot/site"
)

// State is how a box is joined.
type State struct {
	Interface string
	Address   netip.Prefix // not valid: not joined
	NTP       []string     // servers of the time that the network told of
}

// terms is what the box is given: by a lease, or for good.
type terms struct {
	address netip.Prefix
	routes  []route
	dns     []netip.Addr
	search  []string
	ntp     []string
	times   times
}

type route struct {
	to  netip.Prefix
	via netip.Addr // not valid: it is on the wire
}

// everywhere is what a default route leads to.
var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// fixed are the terms of a site that has no DHCP.
func fixed(n site.Network) terms {
	t := terms{address: n.Address, dns: n.DNS}
	if n.Gateway.IsValid() {
		t.routes = routesVia(n.Gateway, n.Address)
	}
	return t
}

// routesVia is the default route, and the one to the gateway where it is not in the
// network of address.
func routesVia(gateway netip.Addr, address netip.Prefix) []route {
	everything := everywhere
	if gateway.Is6() {
		everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	routes := []route{{everything, gateway}}
	if !address.Contains(gateway) {
		routes = slices.Insert(routes, 0, route{to: netip.PrefixFrom(gateway, gateway.BitLen())})
	}
	return routes
}

// times are those of a lease, all zero for one that lasts for good.
type times struct {
	got    time.Time
	renew  time.Duration // from got on: ask for it to be longer
	rebind time.Duration // ask everybody
	expire time.Duration
}

const (
	minLease = 2 * time.Minute // a server that wants less is not obeyed: it would be asked all the time
	maxLease = 30 * 24 * time.Hour
	minRetry = time.Minute
)

// timesOf makes what a server said something that can be kept.
func timesOf(got time.Time, renew, rebind, expire time.Duration) times {
	expire = min(max(expire, minLease), maxLease)
	if renew <= 0 || renew >= expire {
		renew = expire / 2
	}
	if rebind <= renew || rebind >= expire {
		rebind = renew + (expire-renew)*3/4
	}
	return times{got, renew, rebind, expire}
}

// next is when a lease is to be asked for again, when it was asked for last at now
// without an answer, or was got (RFC 2131, 4.4.5). ok is false once it has expired.
func (t times) next(now time.Time) (wait time.Duration, ok bool) {
	since := now.Sub(t.got)
	switch {
	case since >= t.expire:
		return 0, false
	case since < t.renew:
		return t.renew - since, true
	case since < t.rebind:
		return min(max((t.rebind-since)/2, minRetry), t.expire-since), true
	default:
		return min(max((t.expire-since)/2, minRetry), t.expire-since), true
	}
}

// link is an interface as far as it matters.
type link struct {
	name     string
	index    int
	loopback bool
	hardware bool // there is a device behind it
	ethernet bool
	up       bool
	carrier  bool
}

// candidates are the links that may be joined: the one that is named, or each that has
// a socket for a cable, by their names.
func candidates(links []link, named string) []link {
	out := slices.DeleteFunc(slices.Clone(links), func(l link) bool {
		if named != "" {
			return l.name != named
		}
		return l.loopback || !l.hardware || !l.ethernet
	})
	slices.SortFunc(out, func(a, b link) int { return strings.Compare(a.name, b.name) })
	return out
}

// pick returns the link to join: the last one, or else the first with a cable in it.
func pick(links []link, last string) (link, bool) {
	connected := func(l link) bool { return l.up && l.carrier }
	i := slices.IndexFunc(links, func(l link) bool { return connected(l) && l.name == last })
	if i < 0 {
		i = slices.IndexFunc(links, connected)
	}
	if i < 0 {
		return link{}, false
	}
	return links[i], true
}

const (
	maxServers = 3 // of DNS, that a resolver asks
	maxSearch  = 6
)

// resolvConf is the resolver's file.
func resolvConf(t terms) []byte {
	var out strings.Builder
	for _, server := range t.dns[:min(len(t.dns), maxServers)] {
		fmt.Fprintf(&out, "nameserver %s\n", server)
	}
	if len(t.search) > 0 {
		fmt.Fprintf(&out, "search %s\n", strings.Join(t.search[:min(len(t.search), maxSearch)], " "))
	}
	return []byte(out.String())
}
