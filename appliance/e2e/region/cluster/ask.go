package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// State is what one broker says of the cluster.
type State struct {
	ClusterID  string
	Controller int32            // -1: none
	Brokers    map[int32]string // addresses of those that are alive
	Topics     map[string]map[int32]Partition
}

// Partition is what Metadata says of one.
type Partition struct {
	Leader, LeaderEpoch int32 // -1: none
	Replicas, ISR       []int32
}

// askTimeout is for one question to a broker that may be frozen.
const askTimeout = 3 * time.Second

// Ask asks the broker at an address, and no other, for all it knows.
func Ask(ctx context.Context, address string) (*State, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = nil // all
	resp, err := ask(ctx, address, req)
	if err != nil {
		return nil, err
	}
	meta := resp.(*kmsg.MetadataResponse)
	s := &State{Controller: meta.ControllerID, Brokers: map[int32]string{}, Topics: map[string]map[int32]Partition{}}
	if meta.ClusterID != nil {
		s.ClusterID = *meta.ClusterID
	}
	for _, b := range meta.Brokers {
		s.Brokers[b.NodeID] = fmt.Sprintf("%s:%d", b.Host, b.Port)
	}
	for _, t := range meta.Topics {
		if t.Topic == nil {
			continue
		}
		partitions := map[int32]Partition{}
		for _, p := range t.Partitions {
			partitions[p.Partition] = Partition{p.Leader, p.LeaderEpoch, p.Replicas, p.ISR}
		}
		s.Topics[*t.Topic] = partitions
	}
	return s, nil
}

// ask sends one request to one broker.
func ask(ctx context.Context, address string, req kmsg.Request) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RequestRetries(0), kgo.DialTimeout(askTimeout))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return cl.SeedBrokers()[0].Request(ctx, req)
}

// ProducerID has the broker at an address, and no other, give an id to a producer.
func ProducerID(ctx context.Context, address string) (int64, error) {
	resp, err := ask(ctx, address, kmsg.NewPtrInitProducerIDRequest())
	if err != nil {
		return 0, err
	}
	given := resp.(*kmsg.InitProducerIDResponse)
	return given.ProducerID, kerr.ErrorForCode(given.ErrorCode)
}

// Topic is one to create.
type Topic struct {
	Name       string
	Partitions int32
	Replicas   int16
	Assignment map[int32][]int32 // in place of the two above
	Settings   map[string]string
}

// Create creates a topic through any of the brokers at these addresses, and waits until
// all of them know a leader for each partition.
func Create(ctx context.Context, t Topic, addresses ...string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addresses...))
	if err != nil {
		return err
	}
	defer cl.Close()
	ask := kmsg.NewCreateTopicsRequestTopic()
	ask.Topic, ask.NumPartitions, ask.ReplicationFactor = t.Name, t.Partitions, t.Replicas
	if t.Assignment != nil {
		ask.NumPartitions, ask.ReplicationFactor = -1, -1
	}
	for partition, replicas := range t.Assignment {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = partition, replicas
		ask.ReplicaAssignment = append(ask.ReplicaAssignment, a)
	}
	for key, value := range t.Settings {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = key, kmsg.StringPtr(value)
		ask.Configs = append(ask.Configs, c)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.TimeoutMillis = append(req.Topics, ask), 30_000
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("create %s: %w", t.Name, err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create %s: %w", t.Name, err)
	}
	return Await(ctx, "leaders of "+t.Name, func(s *State) bool {
		return Led(s, t.Name, int(max(t.Partitions, int32(len(t.Assignment)))))
	}, addresses...)
}

// Await waits until each of the brokers at the addresses says what holds reports true of.
func Await(ctx context.Context, what string, holds func(*State) bool, addresses ...string) error {
	for _, address := range addresses {
		var last *State
		var lastErr error
		for {
			var state *State
			if state, lastErr = Ask(ctx, address); lastErr == nil {
				if last = state; holds(state) {
					break
				}
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s at %s: %w; it says %+v (%v)", what, address, ctx.Err(), last, lastErr)
			case <-time.After(askEvery):
			}
		}
	}
	return nil
}

// Led reports whether a topic has so many partitions, and each a leader.
func Led(s *State, topic string, partitions int) bool {
	for _, p := range s.Topics[topic] {
		if p.Leader < 0 {
			return false
		}
	}
	return len(s.Topics[topic]) == partitions
}

// InSync reports whether every partition of a topic has a leader and all its replicas in
// the ISR.
func InSync(s *State, topic string) bool {
	for _, p := range s.Topics[topic] {
		if p.Leader < 0 || len(p.ISR) != len(p.Replicas) {
			return false
		}
	}
	return len(s.Topics[topic]) > 0
}

// LedBy returns the partitions of a topic that a broker leads.
func LedBy(s *State, topic string, id int32) (partitions []int32) {
	for index, p := range s.Topics[topic] {
		if p.Leader == id {
			partitions = append(partitions, index)
		}
	}
	slices.Sort(partitions)
	return partitions
}
