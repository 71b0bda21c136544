package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headwater/headwater/broker/commitlog"
)

// LowWatermark is where the replicas that are alive start, at the latest: what is
// before it is gone from all of them. It is -1 until each of them has said so. The
// leader alone knows it.
func (p *Partition) LowWatermark() (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.failed != nil:
		return -1, p.failed
	case p.leading == nil:
		return -1, fmt.Errorf("%s: %w", p.name, ErrNotLeader)
	}
	return p.leading.LowWatermark(p.log.StartOffset()), nil
}

// WatchLow is Watch for who waits for the low watermark: it may have moved, or this
// broker does not lead any more.
func (p *Partition) WatchLow(wake chan<- struct{}) (stop func()) {
	return p.watch(p.lowWatchers, wake)
}

// startMoves is how far apart followers' logs are told to start later, of all
// partitions. It takes several syncs, which the fetches of all of them would wait for:
// those that have no turn are told beside the fetches.
const startMoves = 100 * time.Millisecond

// mayMoveStart reports whether it is time for one. If not, RunStarts will have its
// turn.
func (s *Set) mayMoveStart(now time.Time) bool {
	last := s.startMoved.Load()
	may := now.UnixNano()-last >= int64(startMoves) && s.startMoved.CompareAndSwap(last, now.UnixNano())
	if !may {
		select {
		case s.startWanted <- struct{}{}:
		default:
		}
	}
	return may
}

// RunStarts has followers' logs start where their leaders' do, those that had no turn
// when they learned of it, one after another until ctx is done.
func (s *Set) RunStarts(ctx context.Context) error {
	turn := time.NewTicker(startMoves)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.startWanted:
		}
		for _, p := range s.All() {
			if !p.startsEarly() {
				continue
			}
			select {
			case <-ctx.Done():
				return nil
			case <-turn.C:
			}
			s.startMoved.Store(time.Now().UnixNano())
			if err := p.followStart(); err != nil && !errors.Is(err, commitlog.ErrClosed) && !errors.Is(err, commitlog.ErrOffline) {
				s.log.Error("what the leader has deleted is not deleted", "partition", p.name, "err", err)
			}
		}
	}
}

// startsEarly reports whether a follower's log has what its leader has deleted.
func (p *Partition) startsEarly() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed == nil && p.wantedStart() > p.log.StartOffset()
}
