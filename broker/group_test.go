package broker_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/topic"
)

// groupConfig is brokertest's, with times that a test can wait for.
func groupConfig(dir string) broker.Config {
	cfg := brokertest.Config(dir)
	cfg.DefaultPartitions = 4
	cfg.Groups.Partitions = 3
	cfg.Groups.InitialDelay = 100 * time.Millisecond
	cfg.Groups.MinSessionTimeout = 100 * time.Millisecond
	return cfg
}

// consumer is a member of a group that remembers what it has, and commits when it
// is told.
type consumer struct {
	*kgo.Client
	mu      sync.Mutex // guards all below
	has     map[int32]bool
	changed chan struct{} // closed, and replaced, when has does
}

func join(t *testing.T, b *brokertest.Box, group string, opts ...kgo.Opt) *consumer {
	t.Helper()
	c := &consumer{has: map[int32]bool{}, changed: make(chan struct{})}
	change := func(to bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, p := range partitions["press"] {
				if delete(c.has, p); to {
					c.has[p] = true
				}
			}
			close(c.changed)
			c.changed = make(chan struct{})
		}
	}
	var err error
	c.Client, err = kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addr), kgo.ConsumerGroup(group), kgo.ConsumeTopics("press"),
		kgo.DisableAutoCommit(), kgo.SessionTimeout(time.Second), kgo.HeartbeatInterval(50*time.Millisecond), kgo.RebalanceTimeout(5*time.Second),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }))...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// await waits until want says yes to the partitions that c has.
func (c *consumer) await(t *testing.T, what string, want func(partitions []int32) bool) []int32 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		c.mu.Lock()
		has, changed := slices.Sorted(maps.Keys(c.has)), c.changed
		c.mu.Unlock()
		if want(has) {
			return has
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: has partitions %v", what, has)
		}
	}
}

func count(n int) func([]int32) bool {
	return func(partitions []int32) bool { return len(partitions) == n }
}

// read polls until n records have come, and returns their values.
func (c *consumer) read(t *testing.T, n int) (values []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(values) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("after %d records of %d: %v", len(values), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	slices.Sort(values)
	return values
}

func produce(t *testing.T, b *brokertest.Box, from, to int) (values []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := from; i < to; i++ {
		values = append(values, fmt.Sprintf("reading %04d", i))
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "press", Partition: int32(i % 4), Value: []byte(values[len(values)-1])}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return values
}

// Two members share the partitions; when one is cut off the other has all; what is
// committed is where a later member goes on, also after a restart.
func TestGroup(t *testing.T) {
	for name, balancer := range map[string]kgo.GroupBalancer{"eager": kgo.RangeBalancer(), "cooperative": kgo.CooperativeStickyBalancer()} {
		t.Run(name, func(t *testing.T) {
			cfg := groupConfig(t.TempDir())
			b := brokertest.Start(t, cfg)
			first := produce(t, b, 0, 20)

			one := join(t, b, "readers", kgo.Balancers(balancer))
			defer one.CloseAllowingRebalance()
			one.await(t, "alone", count(4))
			two := join(t, b, "readers", kgo.Balancers(balancer))
			two.await(t, "second member", count(2))
			one.await(t, "first member", count(2))
			got := append(one.read(t, 10), two.read(t, 10)...)
			if slices.Sort(got); !slices.Equal(got, first) {
				t.Errorf("both read %q, want %q", got, first)
			}
			for _, c := range []*consumer{one, two} {
				if err := c.CommitUncommittedOffsets(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			two.Client.Close() // leaves
			one.await(t, "alone again", count(4))
			one.CloseAllowingRebalance()
			b.Stop(t)

			b = brokertest.Start(t, cfg)
			second := produce(t, b, 20, 24)
			three := join(t, b, "readers", kgo.Balancers(balancer))
			defer three.CloseAllowingRebalance()
			if got := three.read(t, 4); !slices.Equal(got, second) {
				t.Errorf("after the restart: read %q, want %q", got, second)
			}
		})
	}
}

// network is a client's that can be cut: what is there is closed, and nothing new
// comes about.
type network struct {
	mu    sync.Mutex // guards all below
	cut   bool
	conns []net.Conn
}

func (n *network) dial(ctx context.Context, netw, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, netw, addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && n.cut {
		c.Close()
		return nil, errors.New("the network is cut")
	}
	n.conns = append(n.conns, c)
	return c, err
}

func (n *network) cutOff() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
	for _, c := range n.conns {
		c.Close()
	}
}

// A member that is cut off without a word loses its partitions when its session
// ends, and what it had not committed is read again by the one who takes over.
func TestGroupMemberCutOff(t *testing.T) {
	b := brokertest.Start(t, groupConfig(t.TempDir()))
	first := produce(t, b, 0, 20)
	one := join(t, b, "readers")
	defer one.CloseAllowingRebalance()
	one.await(t, "alone", count(4))
	net := &network{}
	two := join(t, b, "readers", kgo.Dialer(net.dial))
	defer two.CloseAllowingRebalance()
	lost := two.await(t, "second member", count(2))
	one.await(t, "first member", count(2))
	one.read(t, 10)
	two.read(t, 10)
	if err := one.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	net.cutOff()
	one.await(t, "the one that is left", count(4))
	var want []string
	for i, value := range first {
		if slices.Contains(lost, int32(i%4)) {
			want = append(want, value)
		}
	}
	if got := one.read(t, 10); !slices.Equal(got, want) {
		t.Errorf("read %q again, want %q", got, want)
	}
}

// Nothing of __consumer_offsets can be written by a device.
func TestOffsetsTopicIsNotForDevices(t *testing.T) {
	b := brokertest.Start(t, groupConfig(t.TempDir()))
	if _, err := b.Partitions(t.Context(), "__consumer_offsets"); !errors.Is(err, topic.ErrInternal) {
		t.Errorf("partitions: %v, want %v", err, topic.ErrInternal)
	}
	if err := tryPut(b, "__consumer_offsets", "v"); !errors.Is(err, topic.ErrInternal) {
		t.Errorf("append: %v, want %v", err, topic.ErrInternal)
	}
}

// The topic is made as it must be, and is that again when the list of topics is
// lost: nothing of it goes by age or size.
func TestOffsetsTopicSettings(t *testing.T) {
	cfg := groupConfig(t.TempDir())
	var made []kmsg.DescribeConfigsResponseResourceConfig
	for _, life := range []string{"made", "found on disk"} {
		b := brokertest.Start(t, cfg)
		if life == "made" {
			produce(t, b, 0, 1)
			one := join(t, b, "readers")
			one.await(t, life, count(4))
			one.CloseAllowingRebalance()
		}
		cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
		if err != nil {
			t.Fatal(err)
		}
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "__consumer_offsets"}}
		resp, err := req.RequestWith(t.Context(), cl)
		cl.Close()
		if err != nil || resp.Resources[0].ErrorCode != 0 {
			t.Fatalf("%s: %+v, %v", life, resp, err)
		}
		got := resp.Resources[0].Configs
		if life == "made" {
			made = got
		}
		if !reflect.DeepEqual(got, made) {
			t.Errorf("%s: %+v, want %+v", life, got, made)
		}
		for _, c := range got {
			if want, ok := topic.InternalOverrides()[c.Name]; ok && *c.Value != want {
				t.Errorf("%s: %s is %s, want %s", life, c.Name, *c.Value, want)
			}
		}
		b.Stop(t)
		if err := os.Remove(filepath.Join(cfg.DataDir, "headwater.topics.json")); err != nil {
			t.Fatal(err)
		}
	}
}
