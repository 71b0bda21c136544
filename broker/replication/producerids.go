package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/wire"
)

// ProducerIDs hands out producer ids that the controller has given this broker, a
// block at a time (KIP-730). What is left of the blocks is kept on disk, so that
// producers can start also where the broker has started without ZooKeeper. It may
// be used from any goroutine.
type ProducerIDs struct {
	link  link // Next's
	store cluster.Store
	log   *slog.Logger
	low   chan struct{} // cap 1; few are left on disk

	turn   chan struct{} // cap 1; held by who uses what follows
	loaded bool
	kept   idBlocks // none of these was ever handed out; the disk says so
	next   int64    // next and up to end are not on disk any more, and may be handed out
	end    int64
}

const (
	idShare  = 50  // ids that go with one write; what is left of them when the process ends is never used
	fewIDs   = 500 // when fewer are left on disk, a block is wanted
	idsPause = 5 * time.Second
)

// NewProducerIDs returns ProducerIDs that keep what they have in store.
func NewProducerIDs(c Controller, store cluster.Store, log *slog.Logger) *ProducerIDs {
	return &ProducerIDs{turn: make(chan struct{}, 1), low: make(chan struct{}, 1), link: link{Controller: c}, store: store, log: log}
}

// Next returns an id that nobody had before and nobody gets after. With none on disk
// and no controller it is partition.ErrNoProducerID.
func (p *ProducerIDs) Next(ctx context.Context) (int64, error) {
	done, err := p.enter(ctx)
	if err != nil {
		return -1, err
	}
	defer done()
	if p.next == p.end {
		if err := p.refill(ctx); err != nil {
			return -1, fmt.Errorf("%w: %w", partition.ErrNoProducerID, err)
		}
	}
	id := p.next
	p.next++
	return id, nil
}

// enter waits for the turn, and reads what is on disk when it is the first.
func (p *ProducerIDs) enter(ctx context.Context) (done func(), err error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !p.loaded {
		p.load()
	}
	return func() { <-p.turn }, nil
}

// load takes what is on disk. Of what cannot be understood nothing may be handed
// out.
func (p *ProducerIDs) load() {
	text, err := p.store.Load()
	if err == nil {
		p.kept, err = parseIDBlocks(text)
	}
	p.loaded = true
	if err != nil {
		p.log.Error("the producer ids that were left are damaged; others come from the controller", "err", err)
	}
}

// refill takes some of what is on disk, once the disk does not have them any more.
// A write that fails may be on the disk all the same, which only leaves ids unused.
func (p *ProducerIDs) refill(ctx context.Context) error {
	if len(p.kept) == 0 {
		got, err := allocate(ctx, &p.link)
		if err != nil && ctx.Err() == nil {
			got, err = allocate(ctx, &p.link) // the connection may only have been idle for too long
		}
		if err != nil {
			return err
		}
		p.kept = idBlocks{got}
	}
	share, rest := p.kept.take(idShare)
	if err := p.save(rest); err != nil {
		return err
	}
	p.next, p.end = share.First, share.End
	if rest.count() < fewIDs {
		signal(p.low)
	}
	return nil
}

func (p *ProducerIDs) save(kept idBlocks) error {
	if err := p.store.Save(kept.text()); err != nil {
		return fmt.Errorf("keep producer ids: %w", err)
	}
	p.kept = kept
	return nil
}

// Run has some ids on disk before they are asked for, until ctx is done.
func (p *ProducerIDs) Run(ctx context.Context) error {
	l := link{Controller: p.link.Controller}
	defer l.close()
	var again <-chan time.Time
	signal(p.low)
	for failures := 0; ; {
		select {
		case <-p.low:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		again = nil
		switch err := p.keep(ctx, &l); {
		case err == nil:
			failures = 0
		case errors.Is(err, errNoController): // whoever looks for one says so
			again = time.After(findPause)
		default:
			if failures++; failures == 2 && ctx.Err() == nil { // while the controller moves, one failure is no news
				p.log.Warn("no ids for producers to keep", "err", err)
			}
			again = time.After(idsPause)
		}
	}
}

// keep gets a block when few ids are left on disk.
func (p *ProducerIDs) keep(ctx context.Context, l *link) error {
	done, err := p.enter(ctx)
	if err != nil {
		return err
	}
	enough := p.kept.count() >= fewIDs || len(p.kept) == maxIDBlocks
	done() // who wants an id need not wait for the controller
	if enough {
		return nil
	}
	got, err := allocate(ctx, l)
	if err != nil {
		return err
	}
	if done, err = p.enter(ctx); err != nil {
		return err
	}
	defer done()
	return p.save(p.kept.with(got))
}

// allocate has the controller give this broker a block, or takes one from ZooKeeper.
func allocate(ctx context.Context, l *link) (got idBlock, err error) {
	conn, brokerEpoch, err := l.open()
	if err != nil {
		return got, err
	}
	offered, err := conn.MaxVersion(ctx, wire.AllocateProducerIDs)
	if err != nil {
		return got, err
	}
	var first, count int64
	if offered < 0 {
		first, count, err = l.TakeIDs(ctx)
	} else {
		first, count, err = askForIDs(ctx, conn, l.Self, brokerEpoch)
	}
	if err != nil {
		return got, err
	}
	got = idBlock{First: first, End: first + count}
	if !got.valid() {
		return got, fmt.Errorf("%w: %d producer ids from %d on", wire.ErrBadAnswer, count, first)
	}
	return got, nil
}

// askForIDs has the controller give a broker a block.
func askForIDs(ctx context.Context, conn Caller, self int32, brokerEpoch int64) (first, count int64, err error) {
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = self, brokerEpoch
	resp, err := conn.Call(ctx, req)
	if err != nil {
		return 0, 0, err
	}
	r := resp.(*kmsg.AllocateProducerIDsResponse)
	return r.ProducerIDStart, int64(r.ProducerIDLen), codeError(r.ErrorCode)
}

// Verify does what the first producer would have done about a damaged file, and
// logs it. No id is handed out.
func (p *ProducerIDs) Verify() error {
	text, err := p.store.Load()
	if err == nil {
		_, err = parseIDBlocks(text)
	}
	if err == nil {
		return nil
	}
	p.load()
	return p.save(nil)
}

// Close ends the connection to the controller. Nobody may wait for an id any more.
func (p *ProducerIDs) Close() { p.link.close() }
