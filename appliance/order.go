package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// part is one thing that runs.
type part struct {
	name  string
	run   func(context.Context) error // until its context is done
	ready func() error                // nil when it is of use
}

// runInOrder starts the parts, calls whenReady once all are ready, and waits
// until ctx is done or a part ends. Then it stops them in reverse: each is
// stopped only when all after it have ended, so that nobody loses what it stands
// on. A part that is not ready keeps no other from starting: one partition that
// is offline is no reason to refuse all devices. It returns everything that went
// wrong, nil when all ended because ctx was done.
func runInOrder(ctx context.Context, parts []part, whenReady func()) error {
	g, ctx := errgroup.WithContext(ctx)
	errs := make([]error, len(parts))
	stops := make([]context.CancelFunc, len(parts))
	ended := make([]chan struct{}, len(parts))
	for i, p := range parts {
		var partCtx context.Context
		partCtx, stops[i] = context.WithCancel(context.WithoutCancel(ctx))
		ended[i] = make(chan struct{})
		g.Go(func() error {
			defer close(ended[i])
			errs[i] = runOne(partCtx, p)
			return errs[i]
		})
	}
	if awaitReady(ctx, parts) {
		whenReady()
	}
	<-ctx.Done()
	for i := range slices.Backward(parts) {
		stops[i]()
		<-ended[i]
	}
	g.Wait() // returns the first error only; all of them are in errs
	return errors.Join(errs...)
}

// runOne returns nil only for a part that ended because ctx was done.
func runOne(ctx context.Context, p part) error {
	err := p.run(ctx)
	switch {
	case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
		return nil
	case err == nil:
		err = errors.New("ended by itself")
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// awaitReady reports whether every part was ready before ctx was done. It looks
// often at first, for start-up is short, and then now and again.
func awaitReady(ctx context.Context, parts []part) bool {
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for slices.ContainsFunc(parts, func(p part) bool { return p.ready() != nil }) {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
			if time.Since(start) > 5*time.Second {
				tick.Reset(250 * time.Millisecond)
			}
		}
	}
	return ctx.Err() == nil
}
