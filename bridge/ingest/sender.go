package ingest

import (
	"context"
	"time"

	"github.com/headwater/headwater/broker/record"
)

// send compresses sealed batches and hands them to the Appender, in the order in
// which they were sealed, and seals those that have lingered long enough.
func (in *Ingest) send(ctx context.Context) {
	linger := time.NewTimer(time.Hour)
	defer linger.Stop()
	for {
		b, wait := in.nextReady()
		if b != nil {
			in.metrics.batches.Inc()
			in.metrics.batchRecords.Observe(float64(b.count))
			in.append(b, in.compress.compressed(b.builder.Batch(), b.codec))
			continue
		}
		linger.Reset(wait)
		select {
		case <-in.wakeSender:
		case <-linger.C:
		case <-ctx.Done():
			return
		}
	}
}

func (in *Ingest) append(b *batch, records record.Batch) {
	topic, partition := b.gather.topic.name, b.gather.partition
	if b.at == anyOffset {
		in.appender.Append(topic, partition, records, b.done)
	} else {
		in.cfg.Store.AppendAt(topic, partition, records, b.at, b.done)
	}
}

// nextReady takes the next sealed batch. When there is none it tells how long the
// next open one may still linger.
func (in *Ingest) nextReady() (*batch, time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	wait := in.sealLingered()
	if len(in.ready) == 0 {
		return nil, wait
	}
	b := in.ready[0]
	in.ready[0] = nil
	in.ready = in.ready[1:]
	return b, 0
}
