package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/replica"
)

// batch is n records from offset base on, of a leader epoch.
func batch(base int64, epoch int32, n int) record.Batch {
	var bu record.Builder
	for i := range n {
		bu.Add(1000+int64(i), nil, fmt.Appendf(nil, "%d at %d in epoch %d", i, base, epoch), nil)
	}
	b := bu.Batch()
	b.Stamp(base, epoch)
	return b
}

// withDelta gives b another last offset, as a compacted batch may have.
func withDelta(b record.Batch, lastOffsetDelta int32) record.Batch {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint32(b[23:], uint32(lastOffsetDelta))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// memLog is a log in memory: a leader's, or a Replica whose records become durable
// syncTime after they came.
type memLog struct {
	mu          sync.Mutex // guards all below
	leaderEpoch int32      // of the order that holds
	batches     []record.Batch
	start, end  int64
	durable     int64
	hw          int64
	syncTime    time.Duration
	syncError   error
	appendError error
	cuts        []int64 // where the log was truncated or restarted
}

var errFencedHere = fmt.Errorf("another leader epoch here: %w", partition.ErrNotLeader)

// newMemLog holds batches from offset 0 on, each of two records, in these epochs.
func newMemLog(leaderEpoch int32, epochs ...int32) *memLog {
	m := &memLog{leaderEpoch: leaderEpoch}
	for _, epoch := range epochs {
		m.add(epoch, 2)
	}
	m.durable = m.end
	return m
}

// add appends a batch as a leader does. It holds no lock.
func (m *memLog) add(epoch int32, n int) {
	b := batch(m.end, epoch, n)
	m.batches, m.end = append(m.batches, b), b.NextOffset()
}

func (m *memLog) with(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *memLog) Position() (logEndOffset int64, lastEpoch int32, logStartOffset int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lastEpoch = -1
	if n := len(m.batches); n > 0 {
		lastEpoch = m.batches[n-1].LeaderEpoch()
	}
	return m.end, lastEpoch, m.start
}

func (m *memLog) AppendFetched(leaderEpoch int32, records []byte, leaderHighWatermark, leaderLogStartOffset int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case leaderEpoch != m.leaderEpoch:
		return errFencedHere
	case m.appendError != nil:
		return m.appendError
	}
	for len(records) > 0 {
		b, rest, err := record.Next(records)
		if err != nil || b.BaseOffset() < m.end {
			return fmt.Errorf("batch at %d where the log ends at %d: %v", b.BaseOffset(), m.end, err)
		}
		m.batches, m.end, records = append(m.batches, bytes.Clone(b)), b.NextOffset(), rest
	}
	m.hw = max(m.hw, min(leaderHighWatermark, m.end))
	for m.start < leaderLogStartOffset && len(m.batches) > 0 {
		if b := m.batches[0]; b.NextOffset() <= leaderLogStartOffset {
			m.batches = m.batches[1:]
			m.start = b.NextOffset()
			continue
		}
		m.start = leaderLogStartOffset
	}
	return nil
}

func (m *memLog) Diverged(leaderEpoch int32, end replica.EpochEnd) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if leaderEpoch != m.leaderEpoch {
		return errFencedHere
	}
	own := m.endOf(end.Epoch)
	t := replica.Truncate(end, own, replica.Log{EndOffset: m.end, HighWatermark: m.hw})
	m.cut(t.EndOffset)
	return nil
}

// cut removes what begins at or after offset, and the batch that it is in.
func (m *memLog) cut(offset int64) {
	for len(m.batches) > 0 && m.batches[len(m.batches)-1].NextOffset() > offset {
		m.batches = m.batches[:len(m.batches)-1]
		m.end = m.start
	}
	if n := len(m.batches); n > 0 {
		m.end = m.batches[n-1].NextOffset()
	}
	m.durable = min(m.durable, m.end)
	m.cuts = append(m.cuts, m.end)
}

func (m *memLog) Restart(leaderEpoch int32, startOffset int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if leaderEpoch != m.leaderEpoch {
		return errFencedHere
	}
	m.batches = nil
	m.start, m.end, m.durable, m.hw = startOffset, startOffset, startOffset, startOffset
	m.cuts = append(m.cuts, startOffset)
	return nil
}

func (m *memLog) Await(nextOffset int64, done func(error)) {
	m.mu.Lock()
	durable := m.durable >= nextOffset
	m.mu.Unlock()
	if durable {
		done(nil)
		return
	}
	time.AfterFunc(m.syncTime, func() {
		m.mu.Lock()
		err := m.syncError
		if err == nil {
			m.durable = max(m.durable, min(nextOffset, m.end))
		}
		m.mu.Unlock()
		done(err)
	})
}

// endOf is where an epoch ends in this log, as a leader answers. It holds no lock.
func (m *memLog) endOf(epoch int32) replica.EpochEnd {
	latest := m.leaderEpoch
	if epoch == latest {
		return replica.EpochEnd{Epoch: epoch, EndOffset: m.end}
	}
	if epoch > latest || epoch < 0 {
		return replica.EpochEnd{Epoch: -1, EndOffset: -1}
	}
	found, end := epoch, m.start
	for _, b := range m.batches {
		if b.LeaderEpoch() > epoch {
			return replica.EpochEnd{Epoch: found, EndOffset: b.BaseOffset()}
		}
		found, end = b.LeaderEpoch(), b.NextOffset()
	}
	return replica.EpochEnd{Epoch: found, EndOffset: end}
}

// bytes are all batches, one behind the other.
func (m *memLog) bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []byte
	for _, b := range m.batches {
		all = append(all, b...)
	}
	return all
}

// from are the batches from the one that holds offset on, at most maxBytes, of which
// the first may be more.
func (m *memLog) from(offset int64, maxBytes int, atLeastOne bool) []byte {
	var out []byte
	for _, b := range m.batches {
		if b.NextOffset() > offset && (len(out) == 0 && atLeastOne || len(out)+len(b) <= maxBytes) {
			out = append(out, b...)
		} else if b.NextOffset() > offset {
			break
		}
	}
	return slices.Clip(out)
}

var errDiskGone = errors.New("the disk is gone")
