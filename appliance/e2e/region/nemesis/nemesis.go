package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/network"
)

// Nemesis carries plans out.
type Nemesis struct {
	Cluster *cluster.Cluster
	Topic   string // whose partitions have the leaders that are meant
	// Note is told what is done, as it is done.
	Note func(string)
	// Rate and Lag are what a slow machine can send in a second, and what is added to
	// connections to a delayed one.
	Rate int
	Lag  time.Duration
}

// restartLimit is how long a machine may take to serve again.
const restartLimit = 90 * time.Second

// Run carries steps out, one after the other, and leaves the cluster healed, with all
// machines started. What cannot be done is an error; what a machine does by itself, such
// as to end, is one too.
func (n *Nemesis) Run(ctx context.Context, steps []Step) error {
	for i, s := range steps {
		if !sleep(ctx, s.After) {
			return ctx.Err()
		}
		if err := n.dead(); err != nil {
			return fmt.Errorf("before step %d: %w", i, err)
		}
		err := n.begin(ctx, i, s)
		if err == nil {
			sleep(ctx, s.For)
		}
		if err = errors.Join(err, n.undo()); err != nil {
			return fmt.Errorf("step %d, %v: %w", i, s, err)
		}
		n.Note(fmt.Sprintf("step %d over", i))
	}
	return ctx.Err()
}

// dead finds brokers that have ended without being told.
func (n *Nemesis) dead() error {
	var errs []error
	for _, b := range n.Cluster.Brokers {
		if !b.Running() {
			errs = append(errs, fmt.Errorf("%s: %w", b.Name(), ErrDied))
		}
	}
	return errors.Join(errs...)
}

// ErrDied is returned for a broker that has ended by itself.
var ErrDied = errors.New("ended by itself")

// begin does all that belongs to a step.
func (n *Nemesis) begin(ctx context.Context, i int, s Step) error {
	for _, f := range s.Faults {
		m := n.find(ctx, f)
		if m == nil || !m.Running() {
			n.Note(fmt.Sprintf("step %d: %v: nobody", i, f))
			continue
		}
		n.Note(fmt.Sprintf("step %d: %v: %s", i, f, m.Name()))
		if err := n.do(ctx, f, m); err != nil {
			return fmt.Errorf("%v: %w", f, err)
		}
	}
	return nil
}

// undo heals the network, thaws and starts. It goes on also when the test is over.
func (n *Nemesis) undo() error {
	ctx, cancel := context.WithTimeout(context.Background(), restartLimit)
	defer cancel()
	return n.Cluster.Revive(ctx)
}

// find says who is meant now; nil if nobody is.
func (n *Nemesis) find(ctx context.Context, f Fault) cluster.Machine {
	c := n.Cluster
	switch f.Target {
	case AnyZK:
		return c.ZooKeepers[f.N%len(c.ZooKeepers)]
	case ZKLeader, ZKFollower:
		for i := range c.ZooKeepers {
			z := c.ZooKeepers[(f.N+i)%len(c.ZooKeepers)]
			if len(c.ZooKeepers) == 1 || z.Running() && z.Leads() == (f.Target == ZKLeader) {
				return z
			}
		}
		return nil
	case AnyBroker:
	default:
		if state, err := c.State(ctx); err == nil {
			if b := c.Broker(n.role(state, f)); b != nil {
				return b
			}
		} // nobody knows: anyone will do
	}
	return c.Brokers[f.N%len(c.Brokers)]
}

// role finds the broker that leads or follows a partition, or is the controller.
func (n *Nemesis) role(s *cluster.State, f Fault) int32 {
	partitions := s.Topics[n.Topic]
	if f.Target == Controller || len(partitions) == 0 {
		return s.Controller
	}
	p := partitions[int32(f.N%len(partitions))]
	if f.Target == Follower {
		if i := slices.IndexFunc(p.Replicas, func(r int32) bool { return r != p.Leader }); i >= 0 {
			return p.Replicas[i]
		}
	}
	return p.Leader
}

// stopLimit is how long a broker may take to stop in good order. One that cannot reach
// ZooKeeper does not.
const stopLimit = 20 * time.Second

// do does one thing.
func (n *Nemesis) do(ctx context.Context, f Fault, m cluster.Machine) error {
	net := n.Cluster.Network
	switch f.Op {
	case Kill:
		return m.Kill()
	case KillAll:
		errs := []error{m.Kill()}
		for _, p := range n.peers(m) {
			errs = append(errs, p.Kill())
		}
		return errors.Join(errs...)
	case Stop:
		if b, ok := m.(*cluster.Broker); ok {
			stop, cancel := context.WithTimeout(ctx, stopLimit)
			defer cancel()
			if err := b.Stop(stop); stop.Err() == nil {
				return err
			}
			n.Note(m.Name() + " does not stop, and is killed")
		}
		return m.Kill()
	case Freeze:
		return m.Freeze()
	case Slow:
		return net.Slow(m.Seat(), n.Rate)
	case Delay:
		return net.Delay(m.Seat(), n.Lag)
	case CutPower, Blackout:
		all := n.Cluster.Brokers
		if b, ok := m.(*cluster.Broker); ok && f.Op == CutPower {
			all = []*cluster.Broker{b}
		}
		return cluster.CutPower(all...)
	case Move, Elect:
		if err := n.administer(ctx, f); err != nil { // a cluster with faults may refuse
			n.Note(fmt.Sprintf("%v: %v", f, err))
		}
		return nil
	default:
		return n.cut(f, m)
	}
}

// administer does what an operator does: a partition moves to as many replicas as it has,
// in an order that follows from N, or the preferred leaders are elected.
func (n *Nemesis) administer(ctx context.Context, f Fault) error {
	if f.Op == Elect {
		return n.Cluster.ElectPreferred(ctx)
	}
	state, err := n.Cluster.State(ctx)
	if err != nil {
		return err
	}
	partition := int32(f.N % max(1, len(state.Topics[n.Topic])))
	var ids []int32
	for _, b := range n.Cluster.Brokers {
		ids = append(ids, b.ID)
	}
	rng := rand.New(rand.NewPCG(uint64(f.N), 3))
	rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return n.Cluster.Reassign(ctx, n.Topic, partition, ids[:min(len(ids), 3)])
}

// cut comes between a machine and others.
func (n *Nemesis) cut(f Fault, m cluster.Machine) error {
	var others []cluster.Machine
	switch f.Op {
	case CutPair:
		if peers := n.peers(m); len(peers) > 0 {
			others = peers[f.N%len(peers):][:1]
		}
	case CutPeers:
		others = n.peers(m)
	case CutZK:
		for _, z := range n.Cluster.ZooKeepers {
			others = append(others, z)
		}
	default:
		others = slices.DeleteFunc(n.Cluster.Machines(), func(o cluster.Machine) bool { return o == m })
	}
	var errs []error
	between := func(from, to *network.Seat) { errs = append(errs, n.Cluster.Network.Cut(from, to)) }
	for _, o := range others {
		if f.Op != Mute {
			between(o.Seat(), m.Seat())
		}
		if f.Op != Deafen {
			between(m.Seat(), o.Seat())
		}
	}
	return errors.Join(errs...)
}

// peers are the others of a machine's role.
func (n *Nemesis) peers(m cluster.Machine) []cluster.Machine {
	role := m.Name()[:1]
	return slices.DeleteFunc(n.Cluster.Machines(), func(o cluster.Machine) bool {
		return o == m || !strings.HasPrefix(o.Name(), role)
	})
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
