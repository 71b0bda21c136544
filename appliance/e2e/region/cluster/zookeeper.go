package cluster

import (
	"context"
	"strings"

	"github.com/headwater/headwater/appliance/e2e/region/network"
	"github.com/headwater/headwater/broker/zk/zktest"
)

// zooKeeperPort is that of clients, the same at all seats.
const zooKeeperPort = 2181

// ZooKeeper is one server.
type ZooKeeper struct {
	name   string
	seat   *network.Seat
	server *zktest.Server
	ended  bool
}

// ensemble starts a server at each seat. Whom brokers are to dial stands in connect.
func ensemble(dir string, seats []*network.Seat) (all []*ZooKeeper, connect string, stop func(), err error) {
	cfg := zktest.Config{Dir: dir, ClientPort: zooKeeperPort, Command: func(i int, argv []string) []string {
		return append(append([]string(nil), seats[i].Prefix()...), argv...)
	}}
	var addresses []string
	for _, s := range seats {
		cfg.Hosts = append(cfg.Hosts, s.IP)
		address, err := s.Advertise(zooKeeperPort)
		if err != nil {
			return nil, "", nil, err
		}
		addresses = append(addresses, address)
	}
	e, err := zktest.Launch(len(seats), cfg)
	if err != nil {
		return nil, "", nil, err
	}
	for i, s := range e.Servers {
		all = append(all, &ZooKeeper{name: seats[i].Name, seat: seats[i], server: s})
	}
	return all, strings.Join(addresses, ","), e.Close, nil
}

func (z *ZooKeeper) Name() string        { return z.name }
func (z *ZooKeeper) Seat() *network.Seat { return z.seat }
func (z *ZooKeeper) Log() string         { return z.server.Log() }
func (z *ZooKeeper) Running() bool       { return !z.ended }

// Start starts a server that was killed. It does not wait: without a majority it does
// not serve, and the others may be down too.
func (z *ZooKeeper) Start(context.Context) error {
	if err := z.server.StartOnly(); err != nil {
		return err
	}
	z.ended = false
	return nil
}

// Kill ends it.
func (z *ZooKeeper) Kill() error {
	z.ended = true
	z.server.Kill()
	return nil
}

// Freeze stops it.
func (z *ZooKeeper) Freeze() error { return z.server.Freeze() }

// Thaw lets it go on.
func (z *ZooKeeper) Thaw() error {
	if z.ended {
		return nil
	}
	return z.server.Thaw()
}

// Leads reports whether it says that it leads, or is alone. One that does not answer in
// five seconds does not.
func (z *ZooKeeper) Leads() bool {
	mode, err := z.server.Mode()
	return err == nil && (mode == "leader" || mode == "standalone")
}

var _ = []Machine{(*Broker)(nil), (*ZooKeeper)(nil)}
