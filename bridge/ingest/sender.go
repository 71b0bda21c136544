package ingest

import (
	"context"
	"time"

	"github.com/headwater/headwater/broker/record"
)

// send compresses sealed batches and hands them to the Appender, each partition's in
// their order and the partitions in turn, and seals those that have lingered long
// enough.
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
	for in.ready.front != nil {
		g := in.ready.front.item
		g.sending.leave()
		switch {
		case g.unsent.len == 0: // all were let go
		case !in.maySend(g):
			in.blocked.push(&g.sending, g)
		default:
			return in.handOver(g), 0
		}
	}
	return nil, wait
}

// maySend reports whether the Appender may have g's next batch. It has one of each
// partition at any time. More it has in half of the memory, and of one partition no
// more than what that then leaves to the others. The rest waits here, where
// best-effort messages can be let go for newer ones while the log stands still.
func (in *Ingest) maySend(g *gather) bool {
	return g.sent == 0 || g.sentBytes+g.unsent.front.item.bytes <= in.cfg.BufferBytes/2-in.sentBytes
}

// handOver takes g's next batch out of what can be let go.
func (in *Ingest) handOver(g *gather) *batch {
	b := g.unsent.front.item
	b.queued.leave()
	b.drops.leave()
	b.sent = b.bytes
	g.sent++
	g.sentBytes += b.sent
	in.sentBytes += b.sent
	if g.unsent.len > 0 {
		in.ready.push(&g.sending, g)
	}
	return b
}

// takeBack notes that the Appender is through with b.
func (in *Ingest) takeBack(b *batch) {
	if b.sent == 0 {
		return // it never had it
	}
	b.gather.sent--
	b.gather.sentBytes -= b.sent
	in.sentBytes -= b.sent
	for in.blocked.front != nil {
		g := in.blocked.front.item
		g.sending.leave()
		in.ready.push(&g.sending, g)
		wake(in.wakeSender)
	}
}
