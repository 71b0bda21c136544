package modelcheck

import (
	"sort"

	"github.com/headwater/headwater/broker/replica"
)

// batch is one record: the leader epoch in which it was appended, and what it says.
type batch struct {
	epoch int32
	value int64
}

// memLog is a replica's log as it is in memory, and how far it is on disk.
type memLog struct {
	base     int64 // the offset of the first of batches
	start    int64 // log start offset: what lies before it is deleted
	batches  []batch
	durable  int64
	syncing  int64 // what a sync that is under way will have made durable
	begun    int32 // the epoch that is led, of which there may be no batch
	lastGone int32 // the epoch of the last batch, where all are deleted
	checked  int64 // up to where the checker has compared it, since it was truncated
}

func newLog() *memLog { return &memLog{begun: replica.Unknown, lastGone: replica.Unknown} }

func (l *memLog) end() int64            { return l.base + int64(len(l.batches)) }
func (l *memLog) at(offset int64) batch { return l.batches[offset-l.base] }

// lastEpoch is that of the last batch.
func (l *memLog) lastEpoch() int32 {
	if l.end() == l.start {
		return l.lastGone
	}
	return l.batches[len(l.batches)-1].epoch
}

// endOf is Kafka's endOffsetFor. An epoch begins with its leader.
func (l *memLog) endOf(epoch int32) replica.EpochEnd {
	last := max(l.lastEpoch(), l.begun)
	switch {
	case epoch < 0 || epoch > last:
		return replica.EpochEnd{Epoch: replica.Unknown, EndOffset: replica.Unknown}
	case epoch == last:
		return replica.EpochEnd{Epoch: epoch, EndOffset: l.end()}
	}
	live := l.batches[l.start-l.base:]
	next := sort.Search(len(live), func(i int) bool { return live[i].epoch > epoch })
	if next == 0 {
		return replica.EpochEnd{Epoch: epoch, EndOffset: l.start}
	}
	return replica.EpochEnd{Epoch: live[next-1].epoch, EndOffset: l.start + int64(next)}
}

func (l *memLog) truncate(endOffset int64) {
	switch {
	case endOffset >= l.end():
		return
	case endOffset <= l.start:
		l.reset(endOffset)
		return
	}
	l.batches = l.batches[:endOffset-l.base]
	l.durable, l.syncing, l.checked = min(l.durable, endOffset), min(l.syncing, endOffset), min(l.checked, endOffset)
}

func (l *memLog) reset(startOffset int64) {
	l.base, l.start, l.batches = startOffset, startOffset, nil
	l.durable, l.syncing, l.lastGone = startOffset, startOffset, replica.Unknown
	l.checked = startOffset
}

// deleteBefore deletes what retention does, which is durable.
func (l *memLog) deleteBefore(startOffset int64) {
	if startOffset = min(startOffset, l.durable); startOffset > l.start {
		l.lastGone = l.at(startOffset - 1).epoch
		l.start = startOffset
	}
}

// restarted is the log that a process finds: all that is durable, and perhaps more.
func (l *memLog) restarted(kept int64) {
	l.batches = l.batches[:kept-l.base]
	l.durable, l.syncing, l.begun = kept, kept, replica.Unknown
	l.checked = min(l.checked, kept)
}
