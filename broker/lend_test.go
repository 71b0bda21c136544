package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/buffer"
	"github.com/headwater/headwater/broker/commitlog"
)

// What several producers send ahead, of any size, lies in the log as it was sent,
// and is what several readers get, though the memory of requests and answers is
// used again: here it is overwritten as soon as it is given back.
func TestMemoryOnLoan(t *testing.T) {
	buffer.Poison(true)
	defer buffer.Poison(false)
	for _, policy := range []commitlog.Policy{commitlog.Sync, commitlog.OS} {
		t.Run(policy.String(), func(t *testing.T) {
			cfg := brokertest.Config(t.TempDir())
			cfg.Durability = policy
			b := brokertest.Start(t, cfg)
			const each, producers = 150, 3
			g, ctx := errgroup.WithContext(t.Context())
			for p := range producers {
				g.Go(func() error { return produceNumbered(ctx, b.Addr, p, each) })
			}
			for range 2 {
				g.Go(func() error { return readNumbered(ctx, b.Addr, each*producers) })
			}
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func numbered(producer, i int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d/%d ", producer, i), 1+i*i/4)
}

func produceNumbered(ctx context.Context, addr string, producer, n int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("loan"))
	if err != nil {
		return err
	}
	defer client.Close()
	failed := make(chan error, n)
	for i := range n {
		client.Produce(ctx, &kgo.Record{Key: fmt.Appendf(nil, "%d/%d", producer, i), Value: numbered(producer, i)}, func(_ *kgo.Record, err error) { failed <- err })
	}
	for range n {
		if err := <-failed; err != nil {
			return err
		}
	}
	return nil
}

func readNumbered(ctx context.Context, addr string, n int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.AllowAutoTopicCreation(), kgo.ConsumeTopics("loan"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(100_000))
	if err != nil {
		return err
	}
	defer client.Close()
	for got := 0; got < n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			var producer, i int
			if _, err := fmt.Sscanf(string(r.Key), "%d/%d", &producer, &i); err != nil || !bytes.Equal(r.Value, numbered(producer, i)) {
				return fmt.Errorf("record %d has key %.20q and a value of %d bytes that is not its own: %v", r.Offset, r.Key, len(r.Value), err)
			}
			got++
		}
	}
	return nil
}
