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
	if err = p.check(b); err == nil {
		baseOffset, nextOffset, err = p.put(b, all)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", p.name, err)
	}
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

func (p *Partition) put(b record.Batch, all bool) (baseOffset, nextOffset int64, err error) {
	p.role.RLock()
	defer p.role.RUnlock()
	epoch, err := p.admit(all)
	if err != nil {
		return 0, 0, err
	}
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
	if err = p.check(b); err == nil {
		err = p.putAt(b, baseOffset)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", p.name, err)
	}
	p.appended(b.NextOffset())
	return b.NextOffset(), nil
}

func (p *Partition) putAt(b record.Batch, baseOffset int64) error {
	p.role.RLock()
	defer p.role.RUnlock()
	epoch, err := p.admit(false)
	if err != nil {
		return err
	}
	if err := p.log.AppendAt(b, epoch, baseOffset); err != nil {
		return err
	}
	p.producers.appended(b)
	return nil
}

// appended moves the high watermark when there is no sync to wait for.
func (p *Partition) appended(nextOffset int64) {
	if durableEnd := p.log.DurableEnd(); durableEnd >= nextOffset {
		p.durable(durableEnd, nil)
	}
}
