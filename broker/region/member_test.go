package region

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/zk"
	"github.com/headwater/headwater/broker/zk/zktest"
)

// patience bounds what is waited for, and fails in the end.
const patience = 20 * time.Second

// member is a broker that joins through a real ZooKeeper.
type member struct {
	*world
	link  *link
	stop  context.CancelFunc
	ended chan error
}

// link is a network that can be cut.
type link struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		conn.Close()
		return nil, errors.New("the network is cut")
	}
	l.conns = append(l.conns, conn)
	return conn, nil
}

func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for _, conn := range l.conns {
		conn.Close()
	}
	l.conns = nil
}

// join starts a member at connect on w's disk, or on one of its own. change may change
// what it is told.
func join(t *testing.T, connect string, session time.Duration, w *world, change func(*Config)) *member {
	t.Helper()
	if w == nil {
		w = newWorld(t)
	}
	m := &member{world: w, link: &link{}, ended: make(chan error, 1)}
	cfg := config()
	if change != nil {
		change(&cfg)
	}
	m.Region = New(cfg, w.disk, w.host, w.identity, noController{}, slog.New(slog.DiscardHandler))
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	client, err := zk.NewClient(zk.Config{Connect: connect, SessionTimeout: session, Dial: m.link.dial, Own: m.OwnSession}, m.log, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { m.ended <- client.Run(ctx, m.Serve) }()
	m.stop = sync.OnceFunc(func() { cancel(); <-m.ended })
	t.Cleanup(func() { m.stop() })
	return m
}

// joinsAfter waits until the member has registered, later than in an epoch.
func (m *member) joinsAfter(t *testing.T, epoch int64) (brokerEpoch int64) {
	t.Helper()
	for end := time.Now().Add(patience); m.BrokerEpoch() <= epoch; time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-m.ended:
			m.ended <- err
			t.Fatalf("it does not join: %v", err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("not joined after %v", patience)
		}
	}
	return m.BrokerEpoch()
}

// refused waits until the member has given up.
func (m *member) refused(t *testing.T, want error, says ...string) {
	t.Helper()
	select {
	case err := <-m.ended:
		m.ended <- err
		if !errors.Is(err, want) || !errors.Is(err, zk.ErrGiveUp) {
			t.Errorf("got %v, want %v", err, want)
		}
		for _, word := range says {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q does not say %q", err, word)
			}
		}
	case <-time.After(patience):
		t.Fatalf("it has not given up after %v", patience)
	}
}

func at(id int32, host string) func(*Config) {
	return func(cfg *Config) { cfg.Self.ID, cfg.Self.Host = id, host }
}

func ownWorld(t *testing.T, id int32, clusterID string) *world {
	w := newWorld(t)
	w.identity = &fakeIdentity{clusterID, id}
	return w
}

// What is to stay registered while others try has long: a machine that is busy loses short
// sessions.
const short, long = time.Second, 30 * time.Second

func TestMembership(t *testing.T) {
	zookeeper := zktest.Start(t)
	for name, test := range map[string]func(*testing.T, string){
		"otherCluster": func(t *testing.T, connect string) {
			join(t, connect, short, nil, nil).joinsAfter(t, -1)
			first := join(t, connect+"-two", short, ownWorld(t, 2, "other"), at(2, "b"))
			first.joinsAfter(t, -1)
			first.stop()
			join(t, connect, short, first.world, at(2, "b")).refused(t, ErrOtherCluster, "cluster", "other", "data.dir", "region.zookeeper")
		},
		"adoptsTheCluster": func(t *testing.T, connect string) {
			join(t, connect, short, nil, nil).joinsAfter(t, -1)
			second := join(t, connect, short, ownWorld(t, 7, "alone"), at(2, "b"))
			second.joinsAfter(t, -1)
			if *second.identity != (fakeIdentity{"cluster", 2}) {
				t.Errorf("the directory is of %+v", second.identity)
			}
			if id, joined, err := Stored(second.disk, second.identity); id != 2 || !joined || err != nil {
				t.Errorf("stored: %d, %v, %v", id, joined, err)
			}
		},
		"duplicate": func(t *testing.T, connect string) {
			join(t, connect, long, nil, nil).joinsAfter(t, -1)
			join(t, connect, short, ownWorld(t, self, "x"), at(self, "b")).refused(t, zk.ErrDuplicateID, "a:1", "another id")
		},
		"copyElsewhere": func(t *testing.T, connect string) {
			first := join(t, connect, long, nil, nil)
			epoch := first.joinsAfter(t, -1)
			copied := newWorld(t)
			copied.disk.doc, _ = first.disk.Load()
			join(t, connect, short, copied, at(self, "b")).refused(t, zk.ErrDuplicateID)
			if first.BrokerEpoch() != epoch {
				t.Error("the first had to register again")
			}
		},
		"listeners": func(t *testing.T, connect string) {
			join(t, connect, long, nil, nil).joinsAfter(t, -1)
			join(t, connect, short, nil, func(cfg *Config) { at(2, "b")(cfg); cfg.Listener = "INTERNAL" }).refused(t, ErrListeners, "PLAINTEXT", "INTERNAL", "region.listener")
		},
		"sameAddress": func(t *testing.T, connect string) {
			first := join(t, connect, long, nil, nil)
			first.joinsAfter(t, -1)
			join(t, connect, short, nil, at(2, "a")).refused(t, errSameAddress, "a:1", "kafka.advertise")
			waits := join(t, connect, long, nil, at(3, "a"))
			first.stop()
			waits.joinsAfter(t, -1)
		},
		"expires": func(t *testing.T, connect string) {
			m := join(t, connect, short, nil, nil)
			before := m.joinsAfter(t, -1)
			m.must(t, from(5, before), order(press, 2, 7))
			m.link.set(true)
			for m.BrokerEpoch() >= 0 {
				time.Sleep(5 * time.Millisecond)
			}
			if _, err := m.current(); !errors.Is(err, ErrAway) {
				t.Errorf("without a session: %v", err)
			}
			if _, err := m.CreateTopic(t.Context(), cluster.NewTopic{Name: "new"}); !errors.Is(err, ErrAway) {
				t.Errorf("a topic without a session: %v", err)
			}
			m.must(t, from(5, before), order(press, 2, 8)) // the controller has not heard yet
			m.link.set(false)
			after := m.joinsAfter(t, before)
			if _, err := m.LeaderAndISR(from(5, before), []Order{order(press, 2, 9)}, brokers); !errors.Is(err, cluster.ErrStaleBrokerEpoch) {
				t.Errorf("an order for the registration of before: %v", err)
			}
			m.must(t, from(5, after), order(press, 2, 9))
		},
		"crash": func(t *testing.T, connect string) {
			m := join(t, connect, long, nil, nil)
			before := m.joinsAfter(t, -1)
			m.link.set(true) // it says no goodbye
			m.stop()
			join(t, connect, long, m.world, nil).joinsAfter(t, before)
		},
		"settings": func(t *testing.T, connect string) {
			one, two := join(t, connect, short, nil, nil), join(t, connect, short, nil, at(2, "b"))
			one.joinsAfter(t, -1)
			two.joinsAfter(t, -1)
			session, err := one.current()
			if err != nil {
				t.Fatal(err)
			}
			if err := session.SetConfig(t.Context(), zk.BrokerDefaults, map[string]string{"log.retention.ms": "7000", "num.network.threads": "3"}, zk.AnyVersion); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(patience); two.Snapshot().Defaults.Retention != 7*time.Second; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("the other has %v", two.Snapshot().Defaults.Retention)
				}
			}
			two.stop() // away while they are taken back
			if err := session.SetConfig(t.Context(), zk.BrokerDefaults, nil, zk.AnyVersion); err != nil {
				t.Fatal(err)
			}
			again := join(t, connect, short, two.world, at(2, "b"))
			again.joinsAfter(t, -1)
			if got := again.Snapshot().Defaults.Retention; got == 7*time.Second {
				t.Error("what was taken back meanwhile applies still")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, zookeeper.Address()+"/"+name)
		})
	}
}
