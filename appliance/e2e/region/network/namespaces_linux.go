package network

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// namespaces gives each seat a network namespace of its own.
type namespaces struct {
	subnet  int // 10.213.<subnet>.0/24, .1 is the test's
	bridge  string
	seats   []*Seat
	faults  *faults // what the proxies do
	delayed map[string]*proxy
	slowed  map[string]*Seat
}

// mark is how all that is made begins, so that a later run finds what a run left that
// was killed.
const mark = "hwregion"

// Namespaces makes a network of namespaces, after it removed those of runs that are dead.
func Namespaces() (Network, error) {
	for _, command := range []string{"ip", "nft", "tc", "nsenter"} {
		if _, err := exec.LookPath(command); err != nil {
			return nil, err
		}
	}
	if err := sweep(); err != nil {
		return nil, err
	}
	n := &namespaces{faults: newFaults(), delayed: map[string]*proxy{}, slowed: map[string]*Seat{}}
	var err error
	for try := range 250 {
		n.subnet = 1 + (os.Getpid()+try)%250
		n.bridge = fmt.Sprint("hwr", n.subnet)
		if err = run("", "ip", "link", "add", n.bridge, "type", "bridge"); err == nil || !strings.Contains(err.Error(), "File exists") {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		run("", "ip", "link", "set", n.bridge, "alias", fmt.Sprint(mark, " ", os.Getpid())),
		run("", "ip", "address", "add", n.ip(1)+"/24", "dev", n.bridge),
		run("", "ip", "link", "set", n.bridge, "up"))
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *namespaces) ip(host int) string { return fmt.Sprintf("10.213.%d.%d", n.subnet, host) }

// firstHost is the address of the first seat.
const firstHost = 10

func (n *namespaces) Join(name string) (*Seat, error) {
	i := len(n.seats)
	s := &Seat{Name: name, index: i, IP: n.ip(firstHost + i)}
	ns := n.namespace(s)
	s.prefix = []string{"nsenter", "--net=/run/netns/" + ns} // and no mounts of its own, as "ip netns exec" has
	n.seats = append(n.seats, s)
	veth := n.veth(s)
	in := func(words ...string) []string { return append([]string{"ip", "-n", ns}, words...) }
	for _, words := range [][]string{
		{"ip", "netns", "add", ns},
		{"ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", ns},
		{"ip", "link", "set", veth, "master", n.bridge, "up"},
		in("link", "set", "lo", "up"),
		in("address", "add", s.IP+"/24", "dev", "eth0"),
		in("link", "set", "eth0", "up"),
	} {
		if err := run("", words...); err != nil {
			return nil, err
		}
	}
	return s, n.nft(s, cutTable)
}

// cutTable drops what comes from the addresses in a set.
const cutTable = `table ip region {
	set cut { type ipv4_addr; }
	chain in { type filter hook input priority 0; ip saddr @cut drop; }
}`

func (n *namespaces) namespace(s *Seat) string {
	return fmt.Sprintf("%s-%d-%d-%s", mark, os.Getpid(), n.subnet, s.Name)
}

func (n *namespaces) veth(s *Seat) string { return fmt.Sprintf("%sv%d", n.bridge, s.index) }

// nft runs a script in a seat's namespace.
func (n *namespaces) nft(s *Seat, script string) error {
	return run(script, append(slices.Clone(s.prefix), "nft", "-f", "-")...)
}

func (n *namespaces) Cut(from, to *Seat) error {
	return n.nft(to, fmt.Sprintf("add element ip region cut { %s }\n", from.IP))
}

// Slow shapes both ends of the seat's cable. A queue of 200 ms stands before it.
func (n *namespaces) Slow(s *Seat, bytesPerSecond int) error {
	n.slowed[s.Name] = s
	shape := []string{"root", "tbf", "rate", fmt.Sprintf("%dbps", bytesPerSecond), "burst", "64kb", "latency", "200ms"}
	return errors.Join(
		run("", append([]string{"tc", "-n", n.namespace(s), "qdisc", "replace", "dev", "eth0"}, shape...)...),
		run("", append([]string{"tc", "qdisc", "replace", "dev", n.veth(s)}, shape...)...))
}

// Delay sends the connections of other seats to a proxy in the seat's namespace.
func (n *namespaces) Delay(to *Seat, d time.Duration) error {
	n.faults.setDelay(to.Name, d)
	if n.delayed[to.Name] != nil {
		return nil
	}
	ns := n.namespace(to)
	ln, err := listenIn(ns, "0.0.0.0:0")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCannot, err)
	}
	p := &proxy{to: to.Name, faults: n.faults, who: n.who, dial: dialOriginal(ns)}
	p.start(ln)
	n.delayed[to.Name] = p
	_, port, _ := strings.Cut(ln.Addr().String(), "]:") // [::]:port or 0.0.0.0:port
	if port == "" {
		_, port, _ = strings.Cut(ln.Addr().String(), ":")
	}
	return n.nft(to, fmt.Sprintf(`table ip regiondelay {
	chain pre { type nat hook prerouting priority -100; iifname "eth0" ip saddr != %s meta l4proto tcp redirect to :%s; }
}`, n.ip(1), port))
}

// Heal ends all faults. It goes on where one does not end.
func (n *namespaces) Heal() error {
	var errs []error
	n.faults.clear()
	for _, s := range n.seats {
		errs = append(errs, n.nft(s, "flush set ip region cut\n"))
		if p := n.delayed[s.Name]; p != nil {
			errs = append(errs, n.nft(s, "delete table ip regiondelay\n"))
			p.stop()
			delete(n.delayed, s.Name)
		}
		if n.slowed[s.Name] != nil {
			errs = append(errs, run("", "tc", "-n", n.namespace(s), "qdisc", "del", "dev", "eth0", "root"),
				run("", "tc", "qdisc", "del", "dev", n.veth(s), "root"))
			delete(n.slowed, s.Name)
		}
	}
	return errors.Join(errs...)
}

// Close takes down what stands; proxies first, since they hold the namespaces.
func (n *namespaces) Close() error {
	var errs []error
	for _, p := range n.delayed {
		p.stop()
	}
	for _, s := range n.seats {
		errs = append(errs, run("", "ip", "netns", "del", n.namespace(s)))
		_ = run("", "ip", "link", "del", n.veth(s)) // goes with the namespace, a little later
	}
	return errors.Join(append(errs, run("", "ip", "link", "del", n.bridge))...)
}

func (n *namespaces) Abilities() string {
	return "a network namespace for each: cuts by nft, rates by tc tbf, delays by a proxy; no loss and no reordering of packets (no netem)"
}

// sweep removes what dead runs left.
func sweep() error {
	names, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return fmt.Errorf("no network namespaces: %w", err)
	}
	var errs []error
	for line := range strings.Lines(string(names)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if parts := strings.Split(name, "-"); parts[0] == mark && len(parts) > 1 && dead(parts[1]) {
			errs = append(errs, run("", "ip", "netns", "del", name))
		}
	}
	links, err := exec.Command("ip", "-o", "link", "show", "type", "bridge").Output()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(links)) {
		name, alias, ok := bridgeOf(line)
		if pid, ours := strings.CutPrefix(alias, mark+" "); ok && ours && dead(strings.TrimSpace(pid)) {
			errs = append(errs, run("", "ip", "link", "del", name))
		}
	}
	return errors.Join(errs...)
}

// bridgeOf reads a line of `ip -o link`: "7: hwr3: <...> ... \    alias hwregion 17".
func bridgeOf(line string) (name, alias string, ok bool) {
	_, rest, ok1 := strings.Cut(line, ": ")
	name, _, ok2 := strings.Cut(rest, ": ")
	_, alias, ok3 := strings.Cut(line, "alias ")
	return name, alias, ok1 && ok2 && ok3
}

// dead reports whether no process has the id.
func dead(pid string) bool {
	if _, err := strconv.Atoi(pid); err != nil {
		return false
	}
	_, err := os.Stat("/proc/" + pid)
	return errors.Is(err, os.ErrNotExist)
}
