package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/e2e/region/checker"
)

// reader reads all partitions by itself from the beginning, or shares them with its
// group.
type reader struct {
	cfg    Config
	of     *Recorder
	client int
	group  int // 0: by itself
	rack   string
	seen   *progress
}

func (r *reader) run(ctx context.Context) error {
	opts := []kgo.Opt{
		kgo.SeedBrokers(r.cfg.Addresses...), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(200 * time.Millisecond),
		kgo.RetryBackoffFn(shortly), kgo.MetadataMinAge(100 * time.Millisecond), kgo.MetadataMaxAge(5 * time.Second),
		kgo.ClientID(fmt.Sprint("reader", r.client)), kgo.DialTimeout(2 * time.Second), kgo.RequestTimeoutOverhead(3 * time.Second),
	}
	if r.rack != "" {
		opts = append(opts, kgo.Rack(r.rack))
	}
	if r.group == 0 {
		from := map[int32]kgo.Offset{}
		for partition := range r.cfg.Partitions {
			from[partition] = kgo.NewOffset().At(0)
		}
		opts = append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.cfg.Topic: from}))
	} else {
		opts = append(opts, kgo.ConsumerGroup(fmt.Sprint(r.cfg.Topic, "-group", r.group)), kgo.ConsumeTopics(r.cfg.Topic),
			kgo.ConsumeStartOffset(kgo.NewOffset().At(0)), kgo.BlockRebalanceOnPoll(), kgo.SessionTimeout(6*time.Second),
			kgo.HeartbeatInterval(time.Second), kgo.AutoCommitInterval(500*time.Millisecond), kgo.AutoCommitMarks(),
			kgo.OnPartitionsAssigned(r.assigned))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.CloseAllowingRebalance()
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		fetches.EachError(func(_ string, partition int32, err error) { r.failed(ctx, partition, err) })
		for record := range fetches.RecordsAll() {
			r.of.Take(checker.Event{
				Kind: checker.Poll, Client: r.client, Group: r.group, Partition: record.Partition, Offset: record.Offset, Value: valueOf(record),
			})
			r.seen.at(record.Partition, record.Offset+1)
		}
		if r.group != 0 {
			cl.MarkCommitRecords(fetches.Records()...)
			cl.AllowRebalance()
		}
	}
	return nil
}

func (r *reader) assigned(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
	for _, partition := range topics[r.cfg.Topic] {
		r.of.Take(checker.Event{Kind: checker.Assign, Client: r.client, Group: r.group, Partition: partition})
	}
}

// failed writes down an error. One that says that offsets are gone is wrong whatever
// happened to the cluster; the others are those of a cluster that something happens to.
func (r *reader) failed(ctx context.Context, partition int32, err error) {
	var session *kgo.ErrGroupSession // franz-go joins again by itself
	if ctx.Err() != nil || errors.As(err, &session) {
		return
	}
	var loss *kgo.ErrDataLoss
	if errors.As(err, &loss) || errors.Is(err, kerr.OffsetOutOfRange) {
		r.of.Take(checker.Event{Kind: checker.Gone, Client: r.client, Group: r.group, Partition: partition, Note: err.Error()})
	}
	r.of.problem(fmt.Sprintf("reader %d of group %d, partition %d: %v", r.client, r.group, partition, err))
}
