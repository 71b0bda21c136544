package ingest

import (
	"context"
	"time"

	"github.com/headwater/headwater/bridge/dedup"
)

// tailBounds is how much of a log is read for its ids, at most. A restart loses sight
// of the messages that were not answered: they are in the buffers of the bridge and of
// the devices' connections when the process ends, which are smaller than this.
func tailBounds(cfg Config) dedup.Bounds {
	return dedup.Bounds{
		LeastRecords: 256,
		Records:      min(64<<10, cfg.DedupBytes/dedup.EntryBytes),
		Bytes:        32 << 20,
		Age:          cfg.DedupWindow,
	}
}

// fill has the ids of g's partition read.
func (in *Ingest) fill(g *gather) {
	g.guard.state = reading
	in.unfilled = append(in.unfilled, g)
	wake(in.wakeFiller)
}

// fillAll reads message ids out of logs, one partition after the other.
func (in *Ingest) fillAll(ctx context.Context) {
	for {
		g, job := in.nextUnfilled()
		if g == nil {
			select {
			case <-in.wakeFiller:
				continue
			case <-ctx.Done():
				return
			}
		}
		seen, end, err := in.readIDs(job)
		in.filled(g, seen, end, err)
		if ctx.Err() != nil {
			return
		}
	}
}

// fillJob is what is to be read.
type fillJob struct {
	topic     string
	partition int32
	scope     uint32
	known     int64 // from here on; 0: the tail
	tailEnd   int64 // the tail as it was before devices' messages came
}

func (in *Ingest) nextUnfilled() (*gather, fillJob) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.unfilled) == 0 {
		return nil, fillJob{}
	}
	g := in.unfilled[0]
	in.unfilled[0] = nil
	in.unfilled = in.unfilled[1:]
	return g, fillJob{topic: g.topic.name, partition: g.partition, scope: g.guard.scope, known: g.guard.known, tailEnd: g.tailEnd}
}

// readIDs returns the messages with ids that were not known, and up to which offset
// all are now. Of a log that nothing is known of, it reads the tail that was there
// before devices' messages came, where those are that a device sends again, and the
// tail as it is now, where other producers' are.
func (in *Ingest) readIDs(job fillJob) (seen []dedup.Seen, end int64, err error) {
	start, end, _, err := in.cfg.Store.Offsets(job.topic, job.partition)
	if err != nil {
		return nil, 0, err
	}
	id := func(value []byte) dedup.ID { return in.ids.window.ID(job.scope, value) }
	if job.known == 0 && job.tailEnd > start && job.tailEnd < end {
		if seen, err = dedup.Tail(in.cfg.Store, job.topic, job.partition, start, job.tailEnd, in.tailBounds, id); err != nil {
			return nil, 0, err
		}
		job.known = job.tailEnd
	}
	more, err := dedup.Tail(in.cfg.Store, job.topic, job.partition, max(start, job.known), end, in.tailBounds, id)
	return append(seen, more...), end, err
}

// filled takes over what was read, and settles the messages that waited for it.
func (in *Ingest) filled(g *gather, seen []dedup.Seen, end int64, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	gd, now := g.guard, time.Now()
	if err != nil {
		if gd.err == nil {
			in.log.Warn("message ids not read; messages with ids are turned away", "topic", g.topic.name, "partition", g.partition, "err", err)
		}
		gd.state, gd.err, gd.retryAt = unreadable, err, now.Add(askInterval)
		in.refuseUnfilled(gd, idsUnread, err)
		return
	}
	if gd.err != nil {
		in.log.Info("message ids are read again", "topic", g.topic.name, "partition", g.partition)
	}
	for _, s := range seen {
		in.remember(gd, s, now)
	}
	gd.state, gd.err, gd.behind = read, nil, false
	gd.known, gd.seenEnd = max(gd.known, end), max(gd.seenEnd, end)
	in.placeFilled(g)
	in.acker.poke()
}

// placeFilled places the messages that waited at g. Some may wait again, for a message
// that is on its way.
func (in *Ingest) placeFilled(g *gather) {
	waiting := &g.guard.waiting
	in.scratch.replaying = g
	defer func() { in.scratch.replaying = nil }()
	for range waiting.messages.len {
		w := in.nextWaiting(waiting)
		if w == nil {
			break // some were let go to make room
		}
		size, why, err := in.prepare(&w.message, w.received)
		if why == taken {
			why, err = in.place(g.topic, &w.message, w.received, size)
		}
		if why != taken {
			in.turnAway(w.message.Rule, &w.message, why, err)
		}
	}
	in.sendHurried()
	if in.stopping {
		in.sealAll()
	}
}

func (in *Ingest) refuseUnfilled(gd *guard, why reason, err error) {
	in.refuseAllOf(&gd.waiting, why, err)
}
