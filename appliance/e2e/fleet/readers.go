package fleet

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// reader reads the topic from its beginning until ctx is done, and counts.
func (c Crowd) reader(ctx context.Context, read *atomic.Int64) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Kafka), kgo.ConsumeTopics(Topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(200*time.Millisecond), kgo.FetchMaxBytes(1<<20), kgo.BrokerMaxReadBytes(16<<20), kgo.MetadataMinAge(250*time.Millisecond))
	if err != nil {
		return fmt.Errorf("reader: %w", err)
	}
	defer cl.Close()
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		read.Add(int64(fetches.NumRecords()))
	}
	return nil
}
