package ingest

import (
	"context"
	"time"
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
			in.appender.Append(b.gather.topic.name, b.gather.partition, in.compress.compressed(b.builder.Batch(), b.codec), b.done)
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
