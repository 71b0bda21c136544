package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type franz struct{}

var franzCodecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func (franz) produce(ctx context.Context, c command) error {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers), kgo.ProducerBatchCompression(franzCodecs[c.Codec]), kgo.ProducerLinger(50 * time.Millisecond),
	}
	if !c.Idempotent && c.Transaction == "" {
		acks := map[int16]kgo.Acks{-1: kgo.AllISRAcks(), 0: kgo.NoAck(), 1: kgo.LeaderAck()}[c.acks()]
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(acks))
	}
	if c.Partition != nil {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	if c.Transaction != "" {
		opts = append(opts, kgo.TransactionalID(c.Transaction), kgo.RequestRetries(3))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	if c.Transaction != "" {
		if err := client.BeginTransaction(); err != nil {
			return err
		}
	}
	records := make([]*kgo.Record, c.Count)
	for i := range records {
		records[i] = &kgo.Record{Topic: c.Topic, Key: []byte(c.key(i)), Value: []byte(c.value(i)), Timestamp: c.at(i)}
		if c.Partition != nil {
			records[i].Partition = *c.Partition
		}
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	for _, r := range records {
		say(produced{r.Partition, r.Offset})
	}
	return nil
}

func (franz) read(ctx context.Context, c command) error {
	var at kgo.Offset
	switch c.At {
	case "beginning":
		at = kgo.NewOffset().AtStart()
	case "end":
		at = kgo.NewOffset().AtEnd()
	case "time":
		at = kgo.NewOffset().AfterMilli(c.Time)
	default:
		at = kgo.NewOffset().At(c.Offset)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: {*c.Partition: at}}))
	if err != nil {
		return err
	}
	defer client.Close()
	if c.At == "end" { // where that is must be known before more is written
		if err := ended(ctx, client, c); err != nil {
			return err
		}
	}
	say(map[string]any{"ready": true})
	for n := 0; n < c.Count; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if n++; n <= c.Count {
				say(recordRead{r.Partition, r.Offset, string(r.Key), string(r.Value), r.Timestamp.UnixMilli()})
			}
		})
	}
	return nil
}

// ended points the client at the end as it is now.
func ended(ctx context.Context, client *kgo.Client, c command) error {
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, c.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	end, _ := ends.Lookup(c.Topic, *c.Partition)
	client.SetOffsets(map[string]map[int32]kgo.EpochOffset{c.Topic: {*c.Partition: {Epoch: -1, Offset: end.Offset}}})
	return nil
}

func (franz) group(ctx context.Context, c command) error {
	var mu sync.Mutex
	held := map[int32]bool{}
	change := func(to bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			mu.Lock()
			defer mu.Unlock()
			for _, p := range parts[c.Topic] {
				if to {
					held[p] = true
				} else {
					delete(held, p)
				}
			}
			all := slices.Sorted(maps.Keys(held))
			say(map[string]any{"assigned": append([]int32{}, all...)})
		}
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers), kgo.ConsumerGroup(c.Group), kgo.ConsumeTopics(c.Topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(time.Duration(c.Session) * time.Millisecond),
		kgo.HeartbeatInterval(time.Second), kgo.RebalanceTimeout(10 * time.Second),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
	}
	if c.Instance != "" {
		opts = append(opts, kgo.InstanceID(c.Instance))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) {
				return e.Err
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			say(recordRead{r.Partition, r.Offset, string(r.Key), string(r.Value), r.Timestamp.UnixMilli()})
		})
		if err := client.CommitUncommittedOffsets(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (franz) committed(ctx context.Context, c command) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers))
	if err != nil {
		return err
	}
	defer client.Close()
	lags, err := kadm.NewClient(client).Lag(ctx, c.Group)
	if err != nil {
		return err
	}
	for _, l := range lags[c.Group].Lag.Sorted() {
		say(progress{l.Partition, l.Commit.At, l.End.Offset})
	}
	return lags.Error()
}

func (franz) admin(ctx context.Context, c command) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers))
	if err != nil {
		return err
	}
	defer client.Close()
	a := kadm.NewClient(client)
	settings := map[string]*string{}
	var changes []kadm.AlterConfig
	for name, value := range c.Config {
		settings[name] = &value
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
	}
	switch c.What {
	case "create":
		_, err = a.CreateTopic(ctx, c.Partitions, 1, settings, c.Topic)
	case "describe":
		return describeWithFranz(ctx, a, c.Topic)
	case "alter":
		var answers kadm.AlterConfigsResponses
		if answers, err = a.AlterTopicConfigs(ctx, changes, c.Topic); err == nil {
			err = answers[0].Err
		}
	case "grow":
		var answers kadm.CreatePartitionsResponses
		if answers, err = a.UpdatePartitions(ctx, int(c.Partitions), c.Topic); err == nil {
			err = answers.Error()
		}
	case "delete":
		_, err = a.DeleteTopic(ctx, c.Topic)
	}
	if err == nil {
		say(map[string]any{"ok": true})
	}
	return err
}

func describeWithFranz(ctx context.Context, a *kadm.Client, topic string) error {
	topics, err := a.ListTopics(ctx)
	if err != nil {
		return err
	}
	config := map[string]string{}
	if topics.Has(topic) {
		resources, err := a.DescribeTopicConfigs(ctx, topic)
		if err != nil {
			return err
		}
		for _, s := range resources[0].Configs {
			config[s.Key] = s.MaybeValue()
		}
	}
	say(map[string]any{"partitions": len(topics[topic].Partitions), "config": config})
	return nil
}
