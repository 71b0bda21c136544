package broker

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/topic"
)

// oneOffsetsTopic is a cluster that has __consumer_offsets with one partition.
type oneOffsetsTopic struct{ cluster.Coordinator }

func (oneOffsetsTopic) Snapshot() *cluster.Snapshot {
	return cluster.NewSnapshot(cluster.Snapshot{}, []*cluster.Topic{{Name: group.Topic, Partitions: make([]cluster.Partition, 1)}})
}

// hub is a broker of a region, of which there are the partition of __consumer_offsets
// and the groups in it.
type hub struct {
	t      *testing.T
	id     int32
	set    *partition.Set
	groups *group.Coordinator
}

func newHub(t *testing.T, id int32) *hub {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	dir, err := commitlog.OpenDir("/data", commitlog.Options{FS: disk.NewCrash(1), Policy: commitlog.Sync, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{t: t, id: id, set: partition.NewSet(dir, false, log)}
	cfg := group.DefaultConfig()
	cfg.Clustered, cfg.StoreTimeout = true, time.Hour
	h.groups = group.New(cfg, offsetsLog{h.set, oneOffsetsTopic{}}, func() (time.Time, bool) { return time.Now(), true }, log, nil)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { dir.Run(ctx) })
	running.Go(func() { h.groups.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait(); dir.Close() })
	settings, err := topic.Apply(topic.Defaults(), map[string]string{"min.insync.replicas": "2"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.set.Open(group.Topic, 0, topic.NewID(), settings); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hub) partition() *partition.Partition {
	h.t.Helper()
	p, err := h.set.Get(group.Topic, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// obey does what a controller orders, in the order in which a broker must.
func (h *hub) obey(o partition.Order) {
	h.t.Helper()
	if o.Leader != h.id {
		h.groups.Resign(0, o.LeaderEpoch)
	}
	if _, err := h.set.Apply(group.Topic, 0, h.id, o); err != nil {
		h.t.Fatal(err)
	}
	if o.Leader == h.id {
		h.groups.Lead(0, o.LeaderEpoch)
	}
}

// fetch has h, which follows in leaderEpoch, take what leader has and make it durable,
// and returns where its log ends. The leader learns of it by the next fetch.
func (h *hub) fetch(leader *hub, leaderEpoch int32) (end int64) {
	h.t.Helper()
	p := h.partition()
	offset, lastEpoch, start := p.Position()
	f, diverging, err := leader.partition().ReadReplica(partition.ReplicaFetch{
		Replica: h.id, BrokerEpoch: -1, CurrentLeaderEpoch: leaderEpoch, Offset: offset, LastFetchedEpoch: lastEpoch, LogStartOffset: start, MaxBytes: 1 << 20, AtLeastOne: true,
	})
	if err != nil || diverging != nil {
		h.t.Fatalf("fetch: %v, diverging %v", err, diverging)
	}
	if err := p.AppendFetched(leaderEpoch, f.Records.Bytes, f.HighWatermark, f.LogStartOffset); err != nil {
		h.t.Fatal(err)
	}
	end, _, _ = p.Position()
	durable := make(chan error, 1)
	p.Await(end, func(err error) { durable <- err })
	if err := <-durable; err != nil {
		h.t.Fatal(err)
	}
	return end
}

// ready waits until h serves groups.
func (h *hub) ready() {
	h.t.Helper()
	for err := h.groups.Ready("readers"); err != nil; err = h.groups.Ready("readers") {
		if !errors.Is(err, group.ErrLoading) {
			h.t.Fatal(err)
		}
		runtime.Gosched()
	}
}

func (h *hub) commit(offset int64) <-chan []error {
	o := group.Offset{TopicPartition: group.TopicPartition{Topic: "press"}, Offset: offset, LeaderEpoch: -1}
	return h.groups.Commit(&group.CommitRequest{Group: "readers", Generation: -1, Offsets: []group.Offset{o}})
}

// Groups over partitions that are replicated: a commit is answered when the follower
// has it, a new leader shows what the old one had written once that is committed, and
// with too few replicas in sync nothing is taken.
func TestGroupsOverReplicas(t *testing.T) {
	one, two := newHub(t, 1), newHub(t, 2)
	order := partition.Order{Leader: 1, LeaderEpoch: 1, PartitionEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
	one.obey(order)
	two.obey(order)
	one.ready()
	err := two.groups.Ready("readers")
	for ; errors.Is(err, group.ErrLoading); err = two.groups.Ready("readers") { // it has not begun to run
		runtime.Gosched()
	}
	if !errors.Is(err, group.ErrNotHere) {
		t.Errorf("ready at the follower: %v, want %v", err, group.ErrNotHere)
	}

	catchUp := func() { // the leader's own record may not be durable yet
		for two.fetch(one, 1) < one.partition().State().LogEndOffset {
			runtime.Gosched()
		}
	}
	answer := one.commit(5)
	catchUp()
	select {
	case errs := <-answer:
		t.Errorf("answered %v before the leader knows that the follower has it", errs)
	default:
	}
	two.fetch(one, 1)
	if errs := <-answer; errs[0] != nil {
		t.Errorf("commit: %v", errs[0])
	}

	answer = one.commit(6)
	catchUp()
	order.Leader, order.LeaderEpoch, order.PartitionEpoch = 2, 2, 2
	one.obey(order)
	if errs := <-answer; !errors.Is(errs[0], group.ErrNotHere) {
		t.Errorf("commit that is under way: %v, want %v", errs[0], group.ErrNotHere)
	}
	two.obey(order)
	if err := two.groups.Ready("readers"); !errors.Is(err, group.ErrLoading) {
		t.Errorf("before the new leader knows what is committed: %v, want %v", err, group.ErrLoading)
	}
	one.fetch(two, 2)
	two.ready()
	got, err := two.groups.FetchAll("readers")
	if want := []group.Offset{{TopicPartition: group.TopicPartition{Topic: "press"}, Offset: 6, LeaderEpoch: -1}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the new leader has %+v, %v, want %+v", got, err, want)
	}

	order.PartitionEpoch, order.ISR = 3, []int32{2}
	two.obey(order)
	if errs := <-two.commit(7); !errors.Is(errs[0], group.ErrNotAvailable) {
		t.Errorf("with one replica in sync: %v, want %v", errs[0], group.ErrNotAvailable)
	}
}
