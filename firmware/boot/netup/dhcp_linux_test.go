package netup

import (
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func acknowledged(t *testing.T, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	ack, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(10, 1, 2, 3)), dhcpv4.WithNetmask(net.CIDRMask(20, 32)),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func TestLeased(t *testing.T) {
	gateway := netip.MustParseAddr("10.1.0.1")
	got, err := leased(acknowledged(t, dhcpv4.WithRouter(net.IPv4(10, 1, 0, 1), net.IPv4(10, 1, 0, 2)), dhcpv4.WithDNS(net.IPv4(9, 9, 9, 9), net.IPv4zero),
		dhcpv4.WithOption(dhcpv4.OptNTPServers(net.IPv4(10, 1, 0, 3))), dhcpv4.WithOption(dhcpv4.OptDomainName("plant.example")),
		dhcpv4.WithLeaseTime(3600)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := terms{
		address: netip.MustParsePrefix("10.1.2.3/20"), routes: []route{{everywhere, gateway}}, dns: []netip.Addr{netip.MustParseAddr("9.9.9.9")},
		search: []string{"plant.example"}, ntp: []string{"10.1.0.3"}, times: got.times,
	}
	if !reflect.DeepEqual(got, want) || got.times.expire != time.Hour {
		t.Errorf("leased %+v, want %+v", got, want)
	}
	got, err = leased(acknowledged(t, dhcpv4.WithRouter(net.IPv4(10, 1, 0, 1)), dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
		&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4(10, 8, 0, 0), Mask: net.CIDRMask(16, 32)}, Router: net.IPv4(10, 1, 0, 2)}))), time.Now())
	if err != nil || !reflect.DeepEqual(got.routes, []route{{netip.MustParsePrefix("10.8.0.0/16"), netip.MustParseAddr("10.1.0.2")}}) {
		t.Errorf("routes %+v (%v), want those that are listed alone", got.routes, err)
	}
}

// What comes from the network cannot write lines of its own into a file, nor lease
// what is no address.
func TestLeasedFromOutside(t *testing.T) {
	got, err := leased(acknowledged(t, dhcpv4.WithOption(dhcpv4.OptDomainName("a\nnameserver 6.6.6.6"))), time.Now())
	if err != nil || got.search != nil {
		t.Errorf("searches %q (%v)", got.search, err)
	}
	for _, ip := range []net.IP{nil, net.IPv4zero, net.IPv4(127, 0, 0, 1), net.IPv4(224, 0, 0, 1)} {
		if got, err := leased(acknowledged(t, dhcpv4.WithYourIP(ip)), time.Now()); err == nil {
			t.Errorf("leased %+v", got)
		}
	}
	if got, err := leased(acknowledged(t, dhcpv4.WithNetmask(net.IPMask{255, 0, 255, 0})), time.Now()); err != nil || got.address.Bits() != 8 {
		t.Errorf("with a mask that is none: %v (%v)", got.address, err)
	}
}
