// Package partition is a partition's role on this broker: it takes records as the
// leader, knows the high watermark, and wakes those who wait for it to move.
//
// The log below it owns the bytes and their durability; this room decides what
// may be read and when an append is acknowledged. All methods may be called from
// any goroutine; nothing here starts one.
package partition

import (
	"errors"
	"fmt"
	"sync"

	"github.com/headwater/headwater/broker/buffer"
	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/record"
)

var (
	// ErrUnknown is returned for a topic or partition that this broker has not.
	ErrUnknown = errors.New("unknown topic or partition")
	// ErrNotLeader is returned by a partition that this broker does not lead.
	ErrNotLeader = errors.New("not leader of the partition")
)

// maxInspectedBytes bounds what one compressed batch may expand to when a reader
// asks for the offset of a timestamp.
const maxInspectedBytes = 64 << 20

// Partition is one that this broker hosts.
type Partition struct {
	key
	name        string // "sensors-7", for errors and logs
	log         *commitlog.Log
	ackOnAppend bool // acknowledge what is written, before it is durable
	producers   *producers
	keys        keyCheck

	mu            sync.Mutex // guards all below
	leaderEpoch   int32      // -1: not the leader
	highWatermark int64
	failed        error    // the partition is offline for this reason
	waiting       []waiter // in the order of their offsets
	watchers      map[chan<- struct{}]int
}

// waiter is told when the log is durable up to, not including, nextOffset.
type waiter struct {
	nextOffset int64
	done       func(error)
}

// newPartition takes log over. What lies in it is readable: recovery has kept
// only what is on stable storage.
func newPartition(k key, log *commitlog.Log, ackOnAppend bool, producers *producers, decompressing *sync.Mutex) *Partition {
	p := &Partition{
		key:           k,
		name:          k.String(),
		log:           log,
		ackOnAppend:   ackOnAppend,
		producers:     producers,
		keys:          keyCheck{decompressing: decompressing},
		leaderEpoch:   -1,
		highWatermark: log.DurableEnd(),
		watchers:      map[chan<- struct{}]int{},
	}
	log.Notify(p.durable)
	return p
}

// Topic is the name of the partition's topic.
func (p *Partition) Topic() string { return p.topic }

// Index is the partition's number in its topic.
func (p *Partition) Index() int32 { return p.index }

// LeaderEpoch is the epoch in which this broker leads, -1 when it does not.
func (p *Partition) LeaderEpoch() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leaderEpoch
}

// lead makes this broker the leader in the given epoch.
func (p *Partition) lead(leaderEpoch int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaderEpoch = leaderEpoch
	p.log.BeginEpoch(leaderEpoch)
}

// EndOffsetForEpoch returns where a leader epoch ends: the latest epoch up to the
// one that is asked for and the offset that follows its last record, -1 and -1 for
// an epoch that is not known. What a power cut could still take is no part of it.
func (p *Partition) EndOffsetForEpoch(leaderEpoch int32) (foundEpoch int32, endOffset int64, err error) {
	if err := p.Err(); err != nil {
		return -1, -1, err
	}
	durableEnd := p.log.DurableEnd()
	foundEpoch, endOffset, err = p.log.EndOffsetForEpoch(leaderEpoch)
	return foundEpoch, min(endOffset, durableEnd), err
}

// DeleteBefore gives up the records before offset and returns the log start offset:
// offset, or where the log starts already if that is later. No crash takes it back.
// An offset above the high watermark is commitlog.ErrOffsetOutOfRange.
func (p *Partition) DeleteBefore(offset int64) (logStartOffset int64, err error) {
	if err := p.Err(); err != nil {
		return 0, err
	}
	if _, highWatermark := p.Offsets(); offset > highWatermark {
		return 0, fmt.Errorf("%s: offset %d is above the high watermark %d: %w", p.name, offset, highWatermark, commitlog.ErrOffsetOutOfRange)
	}
	if err := p.producers.outlive(offset); err != nil {
		return 0, fmt.Errorf("%s: %w", p.name, err)
	}
	return p.log.DeleteBefore(offset)
}

// Append puts b, a valid batch, at the end of the log and stamps it. It returns
// the offsets of b's first record and of the one that will follow b. A batch that
// an idempotent producer sent before is not appended again: the offsets are those
// that it has. The bytes may not be durable yet: Await tells when.
func (p *Partition) Append(b record.Batch) (baseOffset, nextOffset int64, err error) {
	epoch, err := p.admit(b)
	if err != nil {
		return 0, 0, err
	}
	if b.ProducerID() >= 0 {
		baseOffset, nextOffset, err = p.producers.append(b, epoch)
	} else if baseOffset, err = p.log.Append(b, epoch); err == nil {
		p.producers.appended(b)
		nextOffset = b.NextOffset()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", p.name, err)
	}
	p.appended(nextOffset)
	return baseOffset, nextOffset, nil
}

// AppendAt is Append for a batch of no idempotent producer that belongs at
// baseOffset alone. When the log ends elsewhere, nothing is appended and the error
// wraps a *commitlog.OffsetMismatch.
func (p *Partition) AppendAt(b record.Batch, baseOffset int64) (nextOffset int64, err error) {
	epoch, err := p.admit(b)
	if err != nil {
		return 0, err
	}
	if err := p.log.AppendAt(b, epoch, baseOffset); err != nil {
		return 0, fmt.Errorf("%s: %w", p.name, err)
	}
	p.producers.appended(b)
	p.appended(b.NextOffset())
	return b.NextOffset(), nil
}

// admit returns the epoch in which b may be appended.
func (p *Partition) admit(b record.Batch) (leaderEpoch int32, err error) {
	leaderEpoch = p.LeaderEpoch()
	if leaderEpoch < 0 {
		return 0, fmt.Errorf("%s: %w", p.name, ErrNotLeader)
	}
	if err := p.keys.check(b); err != nil {
		return 0, fmt.Errorf("%s: %w", p.name, err)
	}
	return leaderEpoch, nil
}

// appended moves the high watermark when there is no sync to wait for.
func (p *Partition) appended(nextOffset int64) {
	if durableEnd := p.log.DurableEnd(); durableEnd >= nextOffset {
		p.durable(durableEnd, nil)
	}
}

// Await calls done once, with nil when everything below nextOffset is as durable
// as the data directory promises, or with the reason why it never will be. It may
// do so before it returns. done must not block: it runs on the goroutine that
// syncs.
func (p *Partition) Await(nextOffset int64, done func(error)) {
	p.mu.Lock()
	switch {
	case p.ackOnAppend || p.highWatermark >= nextOffset:
		p.mu.Unlock()
		done(nil)
	case p.failed != nil:
		err := p.failed
		p.mu.Unlock()
		done(err)
	default:
		p.waiting = insert(p.waiting, waiter{nextOffset, done})
		p.mu.Unlock()
	}
}

// insert keeps waiting in the order of offsets. Appends ask to wait almost in
// that order, so the place is at the end or near it.
func insert(waiting []waiter, w waiter) []waiter {
	at := len(waiting)
	for at > 0 && waiting[at-1].nextOffset > w.nextOffset {
		at--
	}
	waiting = append(waiting, waiter{})
	copy(waiting[at+1:], waiting[at:])
	waiting[at] = w
	return waiting
}

// durable is the log's notice that all below durableEnd is on stable storage, or
// that err has taken it offline. The high watermark follows.
func (p *Partition) durable(durableEnd int64, err error) {
	p.mu.Lock()
	var ready []waiter
	if err != nil {
		p.failed = fmt.Errorf("%s: %w", p.name, err)
		ready, p.waiting = p.waiting, nil
		err = p.failed
	} else {
		p.highWatermark = max(p.highWatermark, durableEnd)
		ready = p.popReady()
	}
	p.wake()
	p.mu.Unlock()
	for _, w := range ready {
		w.done(err)
	}
}

// popReady takes the waiters off whose offsets the high watermark has reached.
func (p *Partition) popReady() []waiter {
	n := 0
	for n < len(p.waiting) && p.waiting[n].nextOffset <= p.highWatermark {
		n++
	}
	ready := p.waiting[:n:n]
	p.waiting = p.waiting[n:]
	if len(p.waiting) == 0 {
		p.waiting = nil // an idle partition holds no buffer
	}
	return ready
}

// Watch sends to wake, without blocking, whenever the high watermark moves or the
// partition goes offline, until stop is called. Give it room for one send: a
// watcher that has one waiting needs no second.
func (p *Partition) Watch(wake chan<- struct{}) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers[wake]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.watchers[wake]--; p.watchers[wake] == 0 {
			delete(p.watchers, wake)
		}
	}
}

func (p *Partition) wake() {
	for w := range p.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// close ends the role: those who wait learn that the partition is gone.
func (p *Partition) close(reason error) {
	p.mu.Lock()
	p.leaderEpoch = -1
	p.mu.Unlock()
	p.durable(0, reason)
	p.producers.close()
}

// Err is why the partition is offline, nil while it serves.
func (p *Partition) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// Offsets returns the first offset that can be read and the one that readers stop
// before.
func (p *Partition) Offsets() (logStartOffset, highWatermark int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.StartOffset(), p.highWatermark
}

// Size is what the partition's segments take on disk, in bytes.
func (p *Partition) Size() int64 { return p.log.Size() }

// Fetched is what Read found. The offsets are set also beside an error.
type Fetched struct {
	Records        buffer.Buffer // whole batches, none when there is nothing new; the caller releases it
	LogStartOffset int64         // inclusive
	HighWatermark  int64         // exclusive
}

// Read returns batches from the one that holds fromOffset up to the high
// watermark, at most maxBytes of them; with atLeastOne the first comes whole
// whatever its size (KIP-74). An offset outside the log is
// commitlog.ErrOffsetOutOfRange; one that is written and not durable yet reads as
// nothing new.
func (p *Partition) Read(fromOffset int64, maxBytes int, atLeastOne bool) (Fetched, error) {
	var f Fetched
	f.LogStartOffset, f.HighWatermark = p.Offsets()
	if err := p.Err(); err != nil {
		return f, err
	}
	if fromOffset < f.LogStartOffset || fromOffset > p.log.EndOffset() {
		return f, fmt.Errorf("%s: offset %d is outside %d to %d: %w", p.name, fromOffset, f.LogStartOffset, f.HighWatermark, commitlog.ErrOffsetOutOfRange)
	}
	if fromOffset >= f.HighWatermark {
		return f, nil
	}
	if err := p.log.ReadInto(&f.Records, fromOffset, f.HighWatermark, maxBytes, atLeastOne); err != nil {
		f.Records.Release()
		return f, fmt.Errorf("%s: %w", p.name, err)
	}
	return f, nil
}

// OffsetForTime returns the first readable record whose timestamp is at or after
// the given one (Unix milliseconds), looking into compressed batches. found is
// false when there is none.
func (p *Partition) OffsetForTime(timestamp int64) (offset, at int64, found bool, err error) {
	fromOffset, highWatermark := p.Offsets()
	for {
		b, found, err := p.log.BatchForTime(timestamp, fromOffset, highWatermark)
		if err != nil || !found {
			return 0, 0, false, err
		}
		offset, at, found, err = recordForTime(b, timestamp, fromOffset)
		if err != nil {
			return 0, 0, false, fmt.Errorf("%s: look into the batch at offset %d: %w", p.name, b.BaseOffset(), err)
		}
		if found || fromOffset >= b.NextOffset() {
			return offset, at, found, nil
		}
		fromOffset = b.NextOffset() // the log starts in b, behind the record that reached the time
	}
}

// recordForTime returns the first record of b at or after the timestamp, of those
// from fromOffset on. When b only says that it has one, and starts no earlier, it
// returns what b says.
func recordForTime(b record.Batch, timestamp, fromOffset int64) (offset, at int64, found bool, err error) {
	offset, at, found = b.BaseOffset(), b.MaxTimestamp(), b.BaseOffset() >= fromOffset
	err = codec.Records(b, maxInspectedBytes, func(r record.Record) bool {
		recordOffset, recordTime := b.BaseOffset()+int64(r.OffsetDelta), b.BaseTimestamp()+r.TimestampDelta
		if recordTime < timestamp || recordOffset < fromOffset {
			return true
		}
		offset, at, found = recordOffset, recordTime, true
		return false
	})
	return offset, at, found, err
}
