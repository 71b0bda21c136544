package partition

import (
	"fmt"

	"github.com/headwater/headwater/broker/record"
)

// Append puts b, a valid batch, at the end of the log and stamps it. It returns
// the offsets of b's first record and of the one that will follow b. A batch that
// an idempotent producer sent before is not appended again: the offsets are those
// that it has. The bytes may not be durable yet: Await tells when.
func (p *Partition) Append(b record.Batch) (baseOffset, nextOffset int64, err error) {
	return p.append(b, false)
}

// AppendAll is Append for records that are to be on all replicas that are in sync:
// AwaitAll tells when. While these are fewer than min.insync.replicas, it refuses with
// ErrNotEnoughReplicas.
func (p *Partition) AppendAll(b record.Batch) (baseOffset, nextOffset int64, err error) {
	return p.append(b, true)
}

func (p *Partition) append(b record.Batch, all bool) (baseOffset, nextOffset int64, err error) {
	return p.appendWaiting(b, all, nil)
}

// AppendThen is Append and Await in one or, with all, AppendAll and AwaitAll: done gets
// the offset of the first record. No change of the role comes between the two. After
// one, other records could stand at the offsets that are waited for, and theirs would be
// taken for the safety of b's. done must not block; it may run before this returns.
func (p *Partition) AppendThen(b record.Batch, all bool, done func(baseOffset int64, err error)) {
	var baseOffset int64
	_, _, err := p.appendWaiting(b, all, func(base, next int64) wish {
		baseOffset = base
		return wish{waiter{next, func(err error) { done(baseOffset, err) }}, all}
	})
	if err != nil {
		done(-1, err)
	}
}

// AppendAtThen is AppendAt and AwaitAll in one.
func (p *Partition) AppendAtThen(b record.Batch, baseOffset int64, done func(error)) {
	if err := p.appendAt(b, baseOffset, &wish{waiter{done: done}, true}); err != nil {
		done(err)
	}
}

// appendWaiting appends b and, where wait is given, has someone wait for what it
// returns, before the role can change.
func (p *Partition) appendWaiting(b record.Batch, all bool, wait func(baseOffset, nextOffset int64) wish) (baseOffset, nextOffset int64, err error) {
	var answered answer
	if err = p.check(b); err == nil {
		baseOffset, nextOffset, answered, err = p.put(b, all, wait)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", p.name, err)
	}
	answered.tell()
	p.appended(nextOffset)
	return baseOffset, nextOffset, nil
}

// check reports what keeps b from being appended in any epoch.
func (p *Partition) check(b record.Batch) error {
	if !p.keys.wanted.Load() {
		return nil
	}
	if p.LeaderEpoch() < 0 { // before b is looked into
		return ErrNotLeader
	}
	return p.keys.check(b)
}

func (p *Partition) put(b record.Batch, all bool, wait func(baseOffset, nextOffset int64) wish) (baseOffset, nextOffset int64, answered answer, err error) {
	p.role.RLock()
	defer p.role.RUnlock()
	epoch, err := p.admit(all)
	if err != nil {
		return 0, 0, answered, err
	}
	if baseOffset, nextOffset, err = p.stamp(b, epoch); err == nil && wait != nil {
		answered = p.await(wait(baseOffset, nextOffset))
	}
	return baseOffset, nextOffset, answered, err
}

// stamp puts b at the end of the log.
func (p *Partition) stamp(b record.Batch, epoch int32) (baseOffset, nextOffset int64, err error) {
	if b.ProducerID() >= 0 {
		return p.producers.append(b, epoch)
	}
	if baseOffset, err = p.log.Append(b, epoch); err != nil {
		return 0, 0, err
	}
	p.producers.appended(b)
	return baseOffset, b.NextOffset(), nil
}

// admit returns the epoch in which a batch may be appended. role is held.
func (p *Partition) admit(all bool) (leaderEpoch int32, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leading == nil {
		return 0, ErrNotLeader
	}
	if all && p.leading.UnderMinISR() {
		return 0, fmt.Errorf("%w: the ISR is %v", ErrNotEnoughReplicas, p.leading.ISR())
	}
	return p.leading.LeaderEpoch(), nil
}

// AppendAt is Append for a batch of no idempotent producer that belongs at
// baseOffset alone. When the log ends elsewhere, nothing is appended and the error
// wraps a *commitlog.OffsetMismatch.
func (p *Partition) AppendAt(b record.Batch, baseOffset int64) (nextOffset int64, err error) {
	if err := p.appendAt(b, baseOffset, nil); err != nil {
		return 0, err
	}
	return b.NextOffset(), nil
}

func (p *Partition) appendAt(b record.Batch, baseOffset int64, wait *wish) (err error) {
	var answered answer
	if err = p.check(b); err == nil {
		answered, err = p.putAt(b, baseOffset, wait)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	answered.tell()
	p.appended(b.NextOffset())
	return nil
}

func (p *Partition) putAt(b record.Batch, baseOffset int64, wait *wish) (answered answer, err error) {
	p.role.RLock()
	defer p.role.RUnlock()
	epoch, err := p.admit(false)
	if err != nil {
		return answered, err
	}
	if err := p.log.AppendAt(b, epoch, baseOffset); err != nil {
		return answered, err
	}
	p.producers.appended(b)
	if wait != nil {
		wait.nextOffset = b.NextOffset()
		answered = p.await(*wait)
	}
	return answered, nil
}

// appended moves the high watermark when there is no sync to wait for.
func (p *Partition) appended(nextOffset int64) {
	if durableEnd := p.log.DurableEnd(); durableEnd >= nextOffset {
		p.durable(durableEnd, nil)
	}
}
