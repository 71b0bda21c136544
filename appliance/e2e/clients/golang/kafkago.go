package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
)

type kafkaGo struct{}

var kafkaGoCodecs = map[string]kafka.Compression{
	"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

// manual puts every message of a writer into one partition.
type manual int32

func (m manual) Balance(kafka.Message, ...int) int { return int(m) }

// errNotThere is told where kafka-go has no such thing: the test knows.
var errNotThere = errors.New("kafka-go does not have this")

func (kafkaGo) produce(ctx context.Context, c command) error {
	if c.Idempotent || c.Transaction != "" {
		return errNotThere
	}
	w := &kafka.Writer{
		Addr: kafka.TCP(c.Brokers), Topic: c.Topic, Balancer: &kafka.Hash{}, Compression: kafkaGoCodecs[c.Codec],
		RequiredAcks: kafka.RequiredAcks(c.acks()), BatchTimeout: 50 * time.Millisecond,
	}
	if c.Partition != nil {
		w.Balancer = manual(*c.Partition)
	}
	messages := make([]kafka.Message, c.Count)
	for i := range messages {
		messages[i] = kafka.Message{Key: []byte(c.key(i)), Value: []byte(c.value(i)), Time: c.at(i)}
	}
	w.Completion = func(done []kafka.Message, err error) {
		for _, m := range done {
			if err == nil {
				say(produced{int32(m.Partition), m.Offset})
			}
		}
	}
	if err := w.WriteMessages(ctx, messages...); err != nil {
		return err
	}
	return w.Close()
}

func (kafkaGo) read(ctx context.Context, c command) error {
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{c.Brokers}, Topic: c.Topic, Partition: int(*c.Partition), MaxBytes: 10 << 20, MaxWait: 200 * time.Millisecond,
		IsolationLevel: kafka.ReadCommitted,
	})
	defer r.Close()
	var err error
	switch c.At {
	case "beginning":
		err = r.SetOffset(kafka.FirstOffset)
	case "end":
		var conn *kafka.Conn
		if conn, err = kafka.DialLeader(ctx, "tcp", c.Brokers, c.Topic, int(*c.Partition)); err == nil {
			var end int64
			if end, err = conn.ReadLastOffset(); err == nil {
				err = r.SetOffset(end)
			}
			conn.Close()
		}
	case "time":
		err = r.SetOffsetAt(ctx, time.UnixMilli(c.Time))
	default:
		err = r.SetOffset(c.Offset)
	}
	if err != nil {
		return err
	}
	say(map[string]any{"ready": true})
	for range c.Count {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return err
		}
		say(recordRead{int32(m.Partition), m.Offset, string(m.Key), string(m.Value), m.Time.UnixMilli()})
	}
	return nil
}

// group uses the group itself and not the reader on top of it, which does not tell
// what it was assigned.
func (kafkaGo) group(ctx context.Context, c command) error {
	if c.Instance != "" {
		return errNotThere
	}
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: c.Group, Brokers: []string{c.Brokers}, Topics: []string{c.Topic}, StartOffset: kafka.FirstOffset,
		HeartbeatInterval: time.Second, SessionTimeout: time.Duration(c.Session) * time.Millisecond, RebalanceTimeout: 10 * time.Second,
		JoinGroupBackoff: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	defer g.Close()
	for {
		gen, err := g.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, kafka.RebalanceInProgress) || errors.Is(err, kafka.UnknownMemberId) || errors.Is(err, kafka.IllegalGeneration):
			continue
		case err != nil:
			return err
		}
		held := []int{}
		for _, a := range gen.Assignments[c.Topic] {
			held = append(held, a.ID)
			gen.Start(func(ctx context.Context) { readGeneration(ctx, gen, c, a) })
		}
		slices.Sort(held)
		say(map[string]any{"assigned": held})
	}
}

func readGeneration(ctx context.Context, gen *kafka.Generation, c command, a kafka.PartitionAssignment) {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{c.Brokers}, Topic: c.Topic, Partition: a.ID, MaxBytes: 10 << 20, MaxWait: 200 * time.Millisecond})
	defer r.Close()
	r.SetOffset(a.Offset)
	for {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return // the generation is over
		}
		say(recordRead{int32(m.Partition), m.Offset, string(m.Key), string(m.Value), m.Time.UnixMilli()})
		if err := gen.CommitOffsets(map[string]map[int]int64{c.Topic: {a.ID: m.Offset + 1}}); err != nil {
			return
		}
	}
}

func (kafkaGo) committed(ctx context.Context, c command) error {
	client := &kafka.Client{Addr: kafka.TCP(c.Brokers)}
	parts, asked := make([]int, c.Partitions), make([]kafka.OffsetRequest, c.Partitions)
	for i := range parts {
		parts[i], asked[i] = i, kafka.LastOffsetOf(i)
	}
	found, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: c.Group, Topics: map[string][]int{c.Topic: parts}})
	if err == nil {
		err = found.Error
	}
	if err != nil {
		return err
	}
	ends, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{c.Topic: asked}})
	if err != nil {
		return err
	}
	last := map[int]int64{}
	for _, e := range ends.Topics[c.Topic] {
		last[e.Partition] = e.LastOffset
	}
	for _, p := range found.Topics[c.Topic] {
		if p.Error != nil {
			return p.Error
		}
		say(progress{int32(p.Partition), p.CommittedOffset, last[p.Partition]})
	}
	return nil
}

func (kafkaGo) admin(ctx context.Context, c command) error {
	client := &kafka.Client{Addr: kafka.TCP(c.Brokers)}
	var errs map[string]error
	var err error
	switch c.What {
	case "create":
		t := kafka.TopicConfig{Topic: c.Topic, NumPartitions: int(c.Partitions), ReplicationFactor: 1}
		for name, value := range c.Config {
			t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
		}
		var answer *kafka.CreateTopicsResponse
		if answer, err = client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{t}}); err == nil {
			errs = answer.Errors
		}
	case "describe":
		return describeWithKafkaGo(ctx, client, c.Topic)
	case "alter":
		var entries []kafka.IncrementalAlterConfigsRequestConfig
		for name, value := range c.Config {
			entries = append(entries, kafka.IncrementalAlterConfigsRequestConfig{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet})
		}
		var answer *kafka.IncrementalAlterConfigsResponse
		answer, err = client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{
			{ResourceType: kafka.ResourceTypeTopic, ResourceName: c.Topic, Configs: entries},
		}})
		if err == nil {
			err = answer.Resources[0].Error
		}
	case "grow":
		var answer *kafka.CreatePartitionsResponse
		answer, err = client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: c.Topic, Count: c.Partitions}}})
		if err == nil {
			errs = answer.Errors
		}
	case "delete":
		var answer *kafka.DeleteTopicsResponse
		if answer, err = client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{c.Topic}}); err == nil {
			errs = answer.Errors
		}
	}
	for topic, refused := range errs {
		if refused != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", topic, refused))
		}
	}
	if err == nil {
		say(map[string]any{"ok": true})
	}
	return err
}

func describeWithKafkaGo(ctx context.Context, client *kafka.Client, topic string) error {
	all, err := client.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return err
	}
	partitions, config := 0, map[string]string{}
	for _, t := range all.Topics {
		if t.Name == topic {
			partitions = len(t.Partitions)
		}
	}
	if partitions > 0 {
		answer, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
			{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic},
		}})
		if err != nil {
			return err
		}
		for _, e := range answer.Resources[0].ConfigEntries {
			config[e.ConfigName] = e.ConfigValue
		}
	}
	say(map[string]any{"partitions": partitions, "config": config})
	return nil
}
