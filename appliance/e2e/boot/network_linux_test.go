//go:build interop

package boot

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/process/processtest"
	"github.com/headwater/headwater/firmware/boot/netup"
	"github.com/headwater/headwater/firmware/boot/site"
)

// ownNetwork reports whether this process has a network of its own; see
// processtest.OwnNetwork.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	needRoot(t)
	return processtest.OwnNetwork(t, 3*time.Minute)
}

// wire is an interface, eth0, and what is at the other end of its cable.
type wire struct {
	t    *testing.T
	dir  string
	dhcp *exec.Cmd
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{t: t, dir: t.TempDir()}
	for _, line := range []string{
		"mount --make-rprivate /", "mount -t tmpfs tmpfs /run", "ip netns add far", "ip link set lo up",
		"ip link add eth0 type veth peer name far0 netns far",
		"ip netns exec far ip addr add 10.77.0.1/24 dev far0",
	} {
		words := strings.Fields(line)
		command(t, words[0], words[1:]...)
	}
	t.Cleanup(func() {
		w.stopDHCP()
		command(t, "ip", "netns", "delete", "far")
		command(t, "umount", "-l", "/run")
	})
	return w
}

// plug puts the cable in, or takes it out.
func (w *wire) plug(how string) {
	w.t.Helper()
	command(w.t, "ip", "netns", "exec", "far", "ip", "link", "set", "far0", how)
}

// reach has a datagram sent to the other end, which must say whose address that is.
func (w *wire) reach(address string) {
	w.t.Helper()
	conn, err := net.Dial("udp", address+":9")
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		w.t.Fatal(err)
	}
	for range 100 {
		if strings.Contains(command(w.t, "ip", "neigh", "show", address), "lladdr") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.t.Errorf("%s is not reached", address)
}

// serveDHCP starts a server that leases addresses from first on.
func (w *wire) serveDHCP(first string, more ...string) {
	w.t.Helper()
	w.stopDHCP()
	args := append([]string{
		"netns", "exec", "far", "dnsmasq", "--keep-in-foreground", "--port=0", "--interface=far0", "--bind-interfaces", "--conf-file=/dev/null",
		"--log-facility=" + w.dir + "/dhcp.log", "--log-dhcp", "--dhcp-authoritative", "--user=root", "--group=root", "--pid-file=" + w.dir + "/pid", "--dhcp-leasefile=" + w.dir + "/leases-" + first,
		"--dhcp-range=" + first + "," + first + ",2m", "--dhcp-option=option:dns-server,10.77.0.53", "--dhcp-option=option:ntp-server,10.77.0.123", "--domain=plant.example",
	}, more...)
	w.dhcp = exec.Command("ip", args...)
	w.dhcp.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.dhcp.Start(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) stopDHCP() {
	if w.dhcp != nil {
		w.dhcp.Process.Kill()
		w.dhcp.Wait()
		w.dhcp = nil
	}
}

// awaitRenewal waits until the server has said yes a second time.
func (w *wire) awaitRenewal(address string, limit time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Second) {
		log, err := os.ReadFile(w.dir + "/dhcp.log")
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.Count(string(log), "DHCPACK(far0) "+address) > 1 {
			return
		}
	}
	w.t.Errorf("not renewed within %v", limit)
}

// join runs the network until the test ends, and returns what it is joined by, each time.
func (w *wire) join(n site.Network) (states chan netup.State, resolv string) {
	w.t.Helper()
	resolv = filepath.Join(w.dir, "resolv.conf")
	states = make(chan netup.State, 16)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		netup.Run(ctx, site.Site{Hostname: "press-3", Network: n}, resolv, log, func(s netup.State) { states <- s })
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	return states, resolv
}

// next is how the box is joined next.
func (w *wire) next(states chan netup.State, limit time.Duration) netup.State {
	w.t.Helper()
	select {
	case s := <-states:
		return s
	case <-time.After(limit):
		log, _ := os.ReadFile(w.dir + "/dhcp.log")
		w.t.Fatalf("nothing changed within %v; the server says %s", limit, log)
		return netup.State{}
	}
}

// A box gets a lease once there are a cable and a server, renews it, and takes another
// address when the server wants that.
func TestDHCP(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	w := newWire(t)
	states, resolv := w.join(site.Network{Interface: "eth0", DHCP: true})
	w.plug("up")
	w.serveDHCP("10.77.0.50")
	s := w.next(states, 40*time.Second)
	if s.Interface != "eth0" || s.Address != netip.MustParsePrefix("10.77.0.50/24") || len(s.NTP) != 1 || s.NTP[0] != "10.77.0.123" {
		t.Fatalf("joined by %+v", s)
	}
	if text, err := os.ReadFile(resolv); err != nil || string(text) != "nameserver 10.77.0.53\nsearch plant.example\n" {
		t.Errorf("resolver's file %q (%v)", text, err)
	}
	if routes := command(t, "ip", "route"); !strings.Contains(routes, "default via 10.77.0.1 dev eth0") {
		t.Errorf("routes %s", routes)
	}
	w.reach("10.77.0.1")
	if leases, err := os.ReadFile(w.dir + "/leases-10.77.0.50"); err != nil || !strings.Contains(string(leases), "press-3") {
		t.Errorf("the server has %q (%v)", leases, err)
	}
	w.awaitRenewal("10.77.0.50", 80*time.Second) // after half of two minutes
	w.plug("down")
	w.serveDHCP("10.77.0.60") // another network
	time.AfterFunc(time.Second, func() { w.plug("up") })
	if s := w.next(states, 40*time.Second); s.Address != netip.MustParsePrefix("10.77.0.60/24") {
		t.Errorf("with another server joined by %+v", s)
	}
	if addresses := command(t, "ip", "-4", "addr", "show", "eth0"); strings.Contains(addresses, "10.77.0.50") {
		t.Errorf("the old address is still there: %s", addresses)
	}
}

// A fixed address is there when the cable is.
func TestFixedAddress(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	w := newWire(t)
	dns := netip.MustParseAddr("9.9.9.9")
	states, resolv := w.join(site.Network{Interface: "eth0", Address: netip.MustParsePrefix("10.77.0.20/24"), Gateway: netip.MustParseAddr("10.77.0.1"), DNS: []netip.Addr{dns}})
	w.plug("up")
	if s := w.next(states, 20*time.Second); s.Address.String() != "10.77.0.20/24" {
		t.Errorf("joined by %+v", s)
	}
	if routes := command(t, "ip", "route"); !strings.Contains(routes, "default via 10.77.0.1 dev eth0") {
		t.Errorf("routes %s", routes)
	}
	if text, err := os.ReadFile(resolv); err != nil || string(text) != "nameserver 9.9.9.9\n" {
		t.Errorf("resolver's file %q (%v)", text, err)
	}
	w.reach("10.77.0.1")
}
