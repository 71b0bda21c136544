package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

type saramaDriver struct{}

var saramaCodecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

func saramaConfig() *sarama.Config {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V3_6_0_0
	cfg.Consumer.Return.Errors = true
	cfg.Consumer.IsolationLevel = sarama.ReadCommitted
	return cfg
}

func (saramaDriver) produce(_ context.Context, c command) error {
	cfg := saramaConfig()
	cfg.Producer.Compression = saramaCodecs[c.Codec]
	cfg.Producer.Return.Successes = true
	cfg.Producer.RequiredAcks = sarama.RequiredAcks(c.acks())
	cfg.Producer.Partitioner = sarama.NewHashPartitioner
	if c.Partition != nil {
		cfg.Producer.Partitioner = sarama.NewManualPartitioner
	}
	if c.Idempotent || c.Transaction != "" {
		cfg.Producer.Idempotent = true
		cfg.Producer.RequiredAcks = sarama.WaitForAll
		cfg.Net.MaxOpenRequests = 1
	}
	if c.Transaction != "" {
		cfg.Producer.Transaction.ID = c.Transaction
		cfg.Producer.Transaction.Retry.Max = 3
	}
	p, err := sarama.NewSyncProducer([]string{c.Brokers}, cfg)
	if err != nil {
		return err
	}
	defer p.Close()
	if c.Transaction != "" {
		if err := p.BeginTxn(); err != nil {
			return err
		}
	}
	messages := make([]*sarama.ProducerMessage, c.Count)
	for i := range messages {
		messages[i] = &sarama.ProducerMessage{
			Topic: c.Topic, Key: sarama.StringEncoder(c.key(i)), Value: sarama.StringEncoder(c.value(i)), Timestamp: c.at(i),
		}
		if c.Partition != nil {
			messages[i].Partition = *c.Partition
		}
	}
	if err := p.SendMessages(messages); err != nil {
		var all sarama.ProducerErrors
		if errors.As(err, &all) && len(all) > 0 {
			return all[0].Err
		}
		return err
	}
	for _, m := range messages {
		say(produced{m.Partition, m.Offset})
	}
	return nil
}

func (saramaDriver) read(ctx context.Context, c command) error {
	client, err := sarama.NewClient([]string{c.Brokers}, saramaConfig())
	if err != nil {
		return err
	}
	defer client.Close()
	at := c.Offset
	switch c.At {
	case "beginning":
		at = sarama.OffsetOldest
	case "end":
		at, err = client.GetOffset(c.Topic, *c.Partition, sarama.OffsetNewest)
	case "time":
		at, err = client.GetOffset(c.Topic, *c.Partition, c.Time)
	}
	if err != nil {
		return err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return err
	}
	defer consumer.Close()
	part, err := consumer.ConsumePartition(c.Topic, *c.Partition, at)
	if err != nil {
		return err
	}
	defer part.Close()
	say(map[string]any{"ready": true})
	for range c.Count {
		select {
		case m := <-part.Messages():
			say(recordRead{m.Partition, m.Offset, string(m.Key), string(m.Value), m.Timestamp.UnixMilli()})
		case err := <-part.Errors():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (saramaDriver) group(ctx context.Context, c command) error {
	cfg := saramaConfig()
	cfg.Consumer.Offsets.Initial = sarama.OffsetOldest
	cfg.Consumer.Offsets.AutoCommit.Enable = false
	cfg.Consumer.Group.Session.Timeout = time.Duration(c.Session) * time.Millisecond
	cfg.Consumer.Group.Heartbeat.Interval = time.Second
	cfg.Consumer.Group.Rebalance.Timeout = 10 * time.Second
	cfg.Consumer.Group.InstanceId = c.Instance
	g, err := sarama.NewConsumerGroup([]string{c.Brokers}, c.Group, cfg)
	if err != nil {
		return err
	}
	defer g.Close()
	for ctx.Err() == nil {
		if err := g.Consume(ctx, []string{c.Topic}, saramaMember{c.Topic}); err != nil {
			return err
		}
	}
	return nil
}

type saramaMember struct{ topic string }

func (m saramaMember) Setup(s sarama.ConsumerGroupSession) error {
	held := append([]int32{}, s.Claims()[m.topic]...)
	slices.Sort(held)
	say(map[string]any{"assigned": held})
	return nil
}

func (saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (saramaMember) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			say(recordRead{m.Partition, m.Offset, string(m.Key), string(m.Value), m.Timestamp.UnixMilli()})
			s.MarkMessage(m, "")
			s.Commit()
		case <-s.Context().Done():
			return nil
		}
	}
}

func (saramaDriver) committed(_ context.Context, c command) error {
	client, err := sarama.NewClient([]string{c.Brokers}, saramaConfig())
	if err != nil {
		return err
	}
	defer client.Close()
	a, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return err
	}
	parts := make([]int32, c.Partitions)
	for i := range parts {
		parts[i] = int32(i)
	}
	found, err := a.ListConsumerGroupOffsets(c.Group, map[string][]int32{c.Topic: parts})
	if err != nil {
		return err
	}
	for _, p := range parts {
		end, err := client.GetOffset(c.Topic, p, sarama.OffsetNewest)
		if err != nil {
			return err
		}
		block := found.GetBlock(c.Topic, p)
		if block == nil {
			return fmt.Errorf("no answer for partition %d", p)
		}
		say(progress{p, block.Offset, end})
	}
	return nil
}

func (saramaDriver) admin(_ context.Context, c command) error {
	a, err := sarama.NewClusterAdmin([]string{c.Brokers}, saramaConfig())
	if err != nil {
		return err
	}
	defer a.Close()
	settings := map[string]*string{}
	changes := map[string]sarama.IncrementalAlterConfigsEntry{}
	for name, value := range c.Config {
		settings[name] = &value
		changes[name] = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
	}
	switch c.What {
	case "create":
		err = a.CreateTopic(c.Topic, &sarama.TopicDetail{NumPartitions: c.Partitions, ReplicationFactor: 1, ConfigEntries: settings}, false)
	case "describe":
		return describeWithSarama(a, c.Topic)
	case "alter":
		err = a.IncrementalAlterConfig(sarama.TopicResource, c.Topic, changes, false)
	case "grow":
		err = a.CreatePartitions(c.Topic, c.Partitions, nil, false)
	case "delete":
		err = a.DeleteTopic(c.Topic)
	}
	if err == nil {
		say(map[string]any{"ok": true})
	}
	return err
}

func describeWithSarama(a sarama.ClusterAdmin, topic string) error {
	topics, err := a.ListTopics()
	if err != nil {
		return err
	}
	config := map[string]string{}
	detail, there := topics[topic]
	if there {
		entries, err := a.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
		if err != nil {
			return err
		}
		for _, e := range entries {
			config[e.Name] = e.Value
		}
	}
	say(map[string]any{"partitions": detail.NumPartitions, "config": config})
	return nil
}
