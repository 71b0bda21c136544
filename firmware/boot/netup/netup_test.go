package netup

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/headwater/headwater/firmware/boot/site"
)

func TestFixed(t *testing.T) {
	for name, tc := range map[string]struct {
		address, gateway string
		want             []route
	}{
		"alone":   {"10.1.2.3/24", "", nil},
		"gateway": {"10.1.2.3/24", "10.1.2.1", []route{{everywhere, netip.MustParseAddr("10.1.2.1")}}},
		"offLink": {"10.1.2.3/32", "10.9.9.9", []route{{to: netip.MustParsePrefix("10.9.9.9/32")}, {everywhere, netip.MustParseAddr("10.9.9.9")}}},
		"v6":      {"fd00::2/64", "fd00::1", []route{{netip.MustParsePrefix("::/0"), netip.MustParseAddr("fd00::1")}}},
	} {
		n := site.Network{Address: netip.MustParsePrefix(tc.address)}
		if tc.gateway != "" {
			n.Gateway = netip.MustParseAddr(tc.gateway)
		}
		if got := fixed(n); !reflect.DeepEqual(got.routes, tc.want) || got.address != n.Address {
			t.Errorf("%s: %+v, want routes %v", name, got, tc.want)
		}
	}
}

// Whatever a server says, a lease is asked for again before it expires, and not all
// the time.
func TestTimes(t *testing.T) {
	start := time.Now()
	for name, tc := range map[string]struct{ renew, rebind, expire, first time.Duration }{
		"usual":   {30 * time.Minute, 52 * time.Minute, time.Hour, 30 * time.Minute},
		"silent":  {0, 0, time.Hour, 30 * time.Minute},
		"odd":     {2 * time.Hour, time.Minute, time.Hour, 30 * time.Minute},
		"short":   {0, 0, time.Second, time.Minute},
		"zero":    {0, 0, 0, time.Minute},
		"forEver": {0, 0, 1<<32*time.Second - time.Second, 15 * 24 * time.Hour},
	} {
		times := timesOf(start, tc.renew, tc.rebind, tc.expire)
		wait, ok := times.next(start)
		if !ok || wait != tc.first {
			t.Errorf("%s: first asked for after %v (%v), want %v", name, wait, ok, tc.first)
		}
		asked, now := 0, start.Add(wait)
		for ; asked < 1000; asked++ { // nobody answers
			wait, ok := times.next(now)
			if !ok {
				break
			}
			if wait <= 0 || wait < minRetry && now.Add(wait) != start.Add(times.expire) {
				t.Fatalf("%s: asked for again after %v", name, wait)
			}
			now = now.Add(wait)
		}
		if now != start.Add(times.expire) || asked > 30 {
			t.Errorf("%s: %d questions until %v, want the end at %v", name, asked, now.Sub(start), times.expire)
		}
	}
}

func TestPick(t *testing.T) {
	links := []link{
		{name: "lo", loopback: true, up: true, carrier: true},
		{name: "eth1", hardware: true, ethernet: true, up: true, carrier: true},
		{name: "eth0", hardware: true, ethernet: true, up: true},
		{name: "veth0", ethernet: true, up: true, carrier: true},
		{name: "can0", hardware: true, up: true, carrier: true},
	}
	if got := candidates(links, ""); len(got) != 2 || got[0].name != "eth0" || got[1].name != "eth1" {
		t.Errorf("may join %+v", got)
	}
	if got := candidates(links, "veth0"); len(got) != 1 || got[0].name != "veth0" {
		t.Errorf("may join %+v, want the one that is named", got)
	}
	two := candidates(links, "")
	if l, ok := pick(two, "eth0"); !ok || l.name != "eth1" {
		t.Errorf("joins %+v, want the one with a cable", l)
	}
	two[0].carrier = true
	if l, ok := pick(two, "eth1"); !ok || l.name != "eth1" {
		t.Errorf("joins %+v, want to stay", l)
	}
	if l, ok := pick(two, ""); !ok || l.name != "eth0" {
		t.Errorf("joins %+v, want the first", l)
	}
	if l, ok := pick(nil, ""); ok {
		t.Errorf("joins %+v of none", l)
	}
}

func TestResolvConf(t *testing.T) {
	a := netip.MustParseAddr("9.9.9.9")
	got := string(resolvConf(terms{dns: []netip.Addr{a, a, a, a}, search: []string{"plant.example", "example"}}))
	if want := "nameserver 9.9.9.9\nnameserver 9.9.9.9\nnameserver 9.9.9.9\nsearch plant.example example\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
