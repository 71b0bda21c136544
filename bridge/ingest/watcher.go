package ingest

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// errLate is why the publisher of a message that the Appender has is told that it is
// not confirmed. It keeps its place in memory, and is stored if the log goes on.
var errLate = fmt.Errorf("%w in time, and may still be stored", ErrUnconfirmed)

// watch ends the waits of those who wait longer than AckTimeout, which it looks for
// four times in that, while there is anything to wait for.
func (in *Ingest) watch(ctx context.Context) {
	every := in.cfg.AckTimeout / 4
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-in.wakeWatcher:
		case <-ctx.Done():
			return
		}
		for more := true; more; more = in.endWaits(time.Now().Add(-in.cfg.AckTimeout)) {
			timer.Reset(every)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// watchOver has the watcher look after a message that somebody waits for.
func (in *Ingest) watchOver() {
	if !in.watched {
		in.watched = true
		wake(in.wakeWatcher)
	}
}

// endWaits answers whoever waits since before oldest. What the Appender does not have
// is let go, and makes room for those who still wait; of what it has, nobody can tell
// whether it will be stored. It reports whether anything is left to watch.
func (in *Ingest) endWaits(oldest time.Time) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, g := range slices.Clone(in.open) {
		if g.batch.late(oldest) {
			in.letGo(g.batch, timedOut)
		}
	}
	for b := range in.live {
		switch {
		case !b.late(oldest):
		case b.sent > 0:
			in.acker.giveUp(b)
		default:
			in.letGo(b, timedOut)
		}
	}
	for _, t := range in.topics {
		in.endWaitsOf(&t.waiting, oldest)
		for _, g := range t.gathers {
			if g.guard != nil {
				in.endWaitsOf(&g.guard.waiting, oldest)
			}
		}
	}
	in.watched = in.buffered > 0
	return in.watched
}

func (b *batch) late(oldest time.Time) bool { return b.awaited() && !b.since.After(oldest) }

// endWaitsOf refuses those who wait in r since before oldest.
func (in *Ingest) endWaitsOf(r *waitingRoom, oldest time.Time) {
	for at := r.messages.front; at != nil && !at.item.received.at.After(oldest); {
		w := at.item
		at = at.next
		if w.message.asks() {
			in.takeOut(w)
			in.turnAway(w.message.Rule, &w.message, timedOut, nil)
		}
	}
}
