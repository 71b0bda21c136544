package commitlog

import (
	"fmt"
	"os"

	"github.com/headwater/headwater/broker/record"
)

// LastEpoch returns the leader epoch in which the last batch was appended, -1
// when there is none. A last batch that is damaged is repaired, as a reader would
// have it, and the one before it counts.
func (l *Log) LastEpoch() (leaderEpoch int32, err error) {
	for range readAttempts {
		leaderEpoch, err = l.lastEpoch()
		if !l.again(err) {
			break
		}
	}
	return leaderEpoch, err
}

func (l *Log) lastEpoch() (leaderEpoch int32, err error) {
	v, end, err := l.snapshot()
	if err != nil {
		return -1, err
	}
	leaderEpoch = -1
	if end == v.startOffset() {
		return leaderEpoch, nil
	}
	if leaderEpoch, ok := l.tailEpoch(); ok {
		return leaderEpoch, nil
	}
	s := v.segments[v.find(end-1)]
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", l.name, err)
	}
	defer l.files.release(file)
	from, _ := l.floor(s, func(t tables) (int64, int64, error) { return t.floor(end - 1 - s.baseOffset) })
	err = walk(file, s.size.Load(), from, s.baseOffset, func(h record.Batch, _, _ int64) bool {
		leaderEpoch = h.LeaderEpoch()
		return true
	})
	return leaderEpoch, damage(s, err)
}

// tailEpoch reads the last batch's header where the log remembers it, so that a
// start does not go through what lies before it.
func (l *Log) tailEpoch() (leaderEpoch int32, ok bool) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	header := make(record.Batch, record.HeaderLen)
	if l.tail.last < 0 || l.closed.Load() {
		return -1, false
	}
	file, err := l.fs.OpenFile(l.view.Load().active().path(logExt), os.O_RDONLY, 0) // a start leaves nothing open
	if err != nil {
		return -1, false
	}
	defer file.Close()
	if _, err := file.ReadAt(header, l.tail.last); err != nil || header.NextOffset() != l.tail.offset {
		return -1, false
	}
	return header.LeaderEpoch(), true
}
