package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// admin is an administration client: franz-go, with the versions that it chooses.
type admin struct {
	*kgo.Client
	t *testing.T
}

func administrate(t *testing.T, address string) admin {
	t.Helper()
	return admin{client(t, address, kgo.RetryBackoffFn(shortly), kgo.ProducerBatchCompression(kgo.NoCompression())), t}
}

// setTopic is the request that sets one of a topic's own settings.
func setTopic(topic, setting, value string) *kmsg.IncrementalAlterConfigsRequest {
	return alterOne(kmsg.ConfigResourceTypeTopic, topic, setting, value)
}

func alterOne(kind kmsg.ConfigResourceType, name, setting, value string) *kmsg.IncrementalAlterConfigsRequest {
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = setting, &value
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.Configs = kind, name, append(r.Configs, c)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, r)
	return req
}

func grow(topic string, count int32) *kmsg.CreatePartitionsRequest {
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, count
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Topics = append(req.Topics, t)
	return req
}

// do sends a request that may change something, and returns the code that it is
// answered with.
func (a admin) do(ctx context.Context, req kmsg.Request) error {
	answer, err := a.Request(ctx, req)
	if err != nil {
		return err
	}
	switch answer := answer.(type) {
	case *kmsg.IncrementalAlterConfigsResponse:
		return kerr.ErrorForCode(answer.Resources[0].ErrorCode)
	case *kmsg.CreatePartitionsResponse:
		return kerr.ErrorForCode(answer.Topics[0].ErrorCode)
	case *kmsg.DeleteTopicsResponse:
		return kerr.ErrorForCode(answer.Topics[0].ErrorCode)
	}
	return fmt.Errorf("no answer of a kind that is known: %T", answer)
}

func (a admin) mustDo(req kmsg.Request) {
	a.t.Helper()
	if err := a.do(within(a.t, patience), req); err != nil {
		a.t.Fatalf("%s: %v", kmsg.NameForKey(req.Key()), err)
	}
}

// described returns a setting's value and where it comes from.
func (a admin) described(kind kmsg.ConfigResourceType, name, setting string) string {
	a.t.Helper()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, []string{setting}
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(within(a.t, patience), a)
	if err != nil || resp.Resources[0].ErrorCode != 0 || len(resp.Resources[0].Configs) != 1 {
		a.t.Fatalf("describe %s of %q: %+v, %v", setting, name, resp, err)
	}
	c := resp.Resources[0].Configs[0]
	return *c.Value + " " + c.Source.String()
}

// partitions returns how many partitions a topic has, all of which must have a
// leader that answers for them.
func (a admin) partitions(topic string) int32 {
	a.t.Helper()
	meta := kmsg.NewPtrMetadataRequest()
	meta.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
	found, err := meta.RequestWith(within(a.t, patience), a)
	if err != nil || found.Topics[0].ErrorCode != 0 {
		a.t.Fatalf("metadata of %s: %+v, %v", topic, found, err)
	}
	list := kmsg.NewPtrListOffsetsRequest()
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for _, p := range found.Topics[0].Partitions {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.CurrentLeaderEpoch, part.Timestamp = p.Partition, p.LeaderEpoch, -1
		t.Partitions = append(t.Partitions, part)
	}
	list.Topics = append(list.Topics, t)
	ends, err := list.RequestWith(within(a.t, patience), a)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, p := range ends.Topics[0].Partitions {
		if p.ErrorCode != 0 || p.Offset < 0 {
			a.t.Errorf("%s-%d: offset %d, %v", topic, p.Partition, p.Offset, kerr.ErrorForCode(p.ErrorCode))
		}
	}
	return int32(len(found.Topics[0].Partitions))
}

// Topics and default settings change while the box runs, at once, and are what they
// were made when it comes back from a kill.
func TestAdministration(t *testing.T) {
	p := start(t)
	createTopic(t, p.Kafka, "press", 2)
	a := administrate(t, p.Kafka)
	large := &kgo.Record{Topic: "press", Partition: 1, Value: []byte(strings.Repeat("x", 5000))}
	produce := func(r *kgo.Record) error { return a.ProduceSync(within(t, patience), r).FirstErr() }

	if err := produce(large); err != nil {
		t.Fatal(err)
	}
	a.mustDo(setTopic("press", "max.message.bytes", "2048"))
	a.mustDo(alterOne(kmsg.ConfigResourceTypeBroker, "1", "log.retention.ms", "7000000"))
	a.mustDo(alterOne(kmsg.ConfigResourceTypeBroker, "", "log.retention.ms", "9000000"))
	a.mustDo(alterOne(kmsg.ConfigResourceTypeBroker, "", "log.retention.bytes", "5000000"))
	a.mustDo(grow("press", 4))
	idempotent, err := kgo.NewClient(kgo.SeedBrokers(p.Kafka), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer idempotent.Close()
	if err := idempotent.ProduceSync(within(t, patience), &kgo.Record{Topic: "press", Partition: 3, Value: []byte("21.5")}).FirstErr(); err != nil {
		t.Errorf("produce to a new partition: %v", err)
	}
	check := func(when string) {
		t.Helper()
		if err := produce(large); !errors.Is(err, kerr.MessageTooLarge) {
			t.Errorf("%s: 5000 bytes where 2048 may be: %v", when, err)
		}
		if n := a.partitions("press"); n != 4 {
			t.Errorf("%s: %d partitions, want 4", when, n)
		}
		for setting, want := range map[string]string{
			"max.message.bytes": "2048 DYNAMIC_TOPIC_CONFIG", "retention.ms": "7000000 DYNAMIC_BROKER_CONFIG", "retention.bytes": "5000000 DYNAMIC_DEFAULT_BROKER_CONFIG",
		} {
			if got := a.described(kmsg.ConfigResourceTypeTopic, "press", setting); got != want {
				t.Errorf("%s: %s is %s, want %s", when, setting, got, want)
			}
		}
	}
	check("at once")
	kill(t, p)
	restart(t, p)
	check("after a kill")
	checkSizes(dial(t, p.Kafka), p.DataDir)
	checkDescriptions(a)

	gone := kmsg.NewPtrDeleteTopicsRequest()
	gone.TopicNames, gone.Topics = []string{"press"}, []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("press")}}
	a.mustDo(gone)
}

// checkSizes asks what the partitions take on which file system; franz-go would
// leave that out.
func checkSizes(w wire, dataDir string) {
	w.t.Helper()
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Version = 4
	dirs := w.ask(req).(*kmsg.DescribeLogDirsResponse).Dirs
	if len(dirs) != 1 || dirs[0].Dir != dataDir || dirs[0].UsableBytes <= 0 || dirs[0].TotalBytes < dirs[0].UsableBytes {
		w.t.Fatalf("log directories: %+v", dirs)
	}
	size := map[string]int64{}
	for _, t := range dirs[0].Topics {
		for _, p := range t.Partitions {
			size[fmt.Sprintf("%s-%d", t.Topic, p.Partition)] = p.Size
		}
	}
	if size["press-0"] != 0 || size["press-1"] < 5000 || size["press-3"] < 70 || len(size) != 4 {
		w.t.Errorf("sizes %v; want 5000 bytes in press-1, and a record in press-3", size)
	}
}

// checkDescriptions asks what administration tools ask of a box: who writes to its
// partitions, who it is, and who should lead.
func checkDescriptions(a admin) {
	a.t.Helper()
	ctx := within(a.t, patience)
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "press", Partitions: []int32{0, 3}}}
	writing, err := producers.RequestWith(ctx, a)
	if err != nil {
		a.t.Fatal(err)
	}
	for i, want := range []int{0, 1} {
		if got := writing.Topics[0].Partitions[i]; got.ErrorCode != 0 || len(got.ActiveProducers) != want {
			a.t.Errorf("producers: %+v, want %d", got, want)
		}
	}
	who, err := kmsg.NewPtrDescribeClusterRequest().RequestWith(ctx, a)
	if err != nil || who.ErrorCode != 0 || len(who.Brokers) != 1 || who.ControllerID != who.Brokers[0].NodeID {
		a.t.Errorf("cluster: %+v, %v", who, err)
	}
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "press", Partitions: []int32{1}}}
	led, err := elect.RequestWith(ctx, a)
	if err != nil || kerr.ErrorForCode(led.Topics[0].Partitions[0].ErrorCode) != kerr.ElectionNotNeeded {
		a.t.Errorf("election: %+v, %v", led, err)
	}
}

// changes asks for one change after the other, each higher than the one before: a
// setting's value, and now and then a partition more.
type changes struct {
	acks         *progress
	asked, acked int64 // values
	grownAsked   int32 // partitions
	grown        int32
	unexpected   error
	ended        chan struct{}
	stop         context.CancelFunc
}

func startChanges(t *testing.T, a admin, value int64, partitions int32) *changes {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &changes{acks: newProgress(), asked: value, acked: value, grownAsked: partitions, grown: partitions, ended: make(chan struct{}), stop: cancel}
	t.Cleanup(func() { cancel(); <-c.ended })
	go func() {
		defer close(c.ended)
		for n := 0; ctx.Err() == nil; n++ {
			var err error
			if n%5 == 4 {
				c.grownAsked = c.grown + 1
				if err = a.do(ctx, grow("press", c.grownAsked)); err == nil {
					c.grown = c.grownAsked
				}
			} else {
				c.asked = c.acked + 1
				if err = a.do(ctx, setTopic("press", "retention.ms", strconv.FormatInt(c.asked, 10))); err == nil {
					c.acked = c.asked
				}
			}
			if refused := new(kerr.Error); errors.As(err, &refused) {
				c.unexpected = err
				return
			}
			if err != nil {
				return // killed
			}
			c.acks.add(1)
		}
	}()
	return c
}

// Killed again and again while settings and numbers of partitions change, the box
// has what it acknowledged, or what was asked for next, and nothing in between.
func TestKillDuringAdministration(t *testing.T) {
	p := start(t)
	createTopic(t, p.Kafka, "press", 1)
	rng := rand.New(rand.NewPCG(3, 4))
	value, partitions := int64(1_000_000), int32(1)
	administrate(t, p.Kafka).mustDo(setTopic("press", "retention.ms", strconv.FormatInt(value, 10)))
	for round := range killRounds {
		c := startChanges(t, administrate(t, p.Kafka), value, partitions)
		c.acks.awaitMore(t, p, 5+rng.Int64N(30), "changes")
		kill(t, p)
		c.stop()
		wait(t, c.ended, "the changes do not end")
		if c.unexpected != nil {
			t.Fatalf("round %d: a change was refused: %v", round, c.unexpected)
		}
		restart(t, p)
		a := administrate(t, p.Kafka)
		text, _, _ := strings.Cut(a.described(kmsg.ConfigResourceTypeTopic, "press", "retention.ms"), " ")
		var err error
		if value, err = strconv.ParseInt(text, 10, 64); err != nil || value != c.acked && value != c.asked {
			t.Errorf("round %d: retention.ms is %s; %d was acknowledged, %d asked for", round, text, c.acked, c.asked)
		}
		if partitions = a.partitions("press"); partitions != c.grown && partitions != c.grownAsked {
			t.Errorf("round %d: %d partitions; %d were acknowledged, %d asked for", round, partitions, c.grown, c.grownAsked)
		}
	}
	t.Logf("%d changes of the setting, %d partitions in the end", value-1_000_000, partitions)
}
