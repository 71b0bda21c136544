package ingest

import (
	"context"
	"time"
)

// send hands sealed batches to the Appender, in the order in which they were
// sealed, and seals those that have lingered long enough.
func (in *Ingest) send(ctx context.Context) {
	linger := time.NewTimer(time.Hour)
	defer linger.Stop()
	for {
		b, wait := in.nextReady()
		if b != nil {
			in.metrics.batches.Inc()
			in.metrics.batchRecords.Observe(float64(b.count))
			in.appender.Append(b.gather.topic.name, b.gather.partition, b.builder.Batch(), b.done)
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
// oldest open one may still linger.
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

// sealLingered returns how long it will be until there is more to do.
func (in *Ingest) sealLingered() time.Duration {
	for in.open.front != nil {
		g := in.open.front
		if left := in.cfg.Linger - time.Since(g.batch.opened); left > 0 {
			return left
		}
		in.seal(g)
	}
	return time.Hour // a batch that opens wakes the sender
}
