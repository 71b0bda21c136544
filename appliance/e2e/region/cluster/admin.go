package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Reassign asks the controller to move a partition to other replicas, and does not wait
// until it has.
func (c *Cluster) Reassign(ctx context.Context, topic string, partition int32, replicas []int32) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	p.Partition, p.Replicas = partition, replicas
	t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.TimeoutMillis, req.Topics = adminMillis, append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("reassign %s-%d: %w", t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

// adminMillis is how long a broker may take for what an operator asks.
const adminMillis = 10_000

// ElectPreferred asks the controller to let the preferred leaders of all partitions lead.
func (c *Cluster) ElectPreferred(ctx context.Context) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrElectLeadersRequest()
	req.TimeoutMillis, req.Topics = adminMillis, nil // all
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// awaitMoved waits until no partition is being reassigned.
func (c *Cluster) awaitMoved(ctx context.Context) error {
	for {
		moving, err := c.moving(ctx)
		if err == nil && moving == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d partitions are being reassigned (%v): %w", moving, err, ctx.Err())
		case <-time.After(askEvery):
		}
	}
}

func (c *Cluster) moving(ctx context.Context) (partitions int, err error) {
	cl, err := c.client()
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.TimeoutMillis, req.Topics = adminMillis, nil // all
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		partitions += len(t.Partitions)
	}
	return partitions, kerr.ErrorForCode(resp.ErrorCode)
}

func (c *Cluster) client() (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(c.Addresses()...), kgo.DialTimeout(askTimeout), kgo.RetryTimeout(2*askTimeout))
}
