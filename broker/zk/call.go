package zk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	maxCalls = 64 // that are with the library at one time
	maxTries = 8  // of one read or write, each on another connection
	maxEach  = 32 // of the parts of one request at one time
)

// submit has the library do one thing, once there is a connection. The error wraps
// ErrAway when it was not done, and ErrUncertain when nobody knows; ErrOver too when
// the session has ended.
func submit[T any](ctx context.Context, s *Session, op string, f func(*zk.Conn) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if err := s.enter(ctx); err != nil {
		return none, fmt.Errorf("%s: %w", op, err)
	}
	answers := make(chan answer, 1)
	go func() {
		defer s.leave()
		start := time.Now()
		value, err := f(s.conn)
		s.metrics.requests.Observe(time.Since(start).Seconds())
		if err = translated(err); err != nil {
			err = fmt.Errorf("%s: %w", op, err)
		}
		answers <- answer{value, err}
	}()
	var lost error
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		lost = fmt.Errorf("%s: %w: %w", op, ErrUncertain, context.Cause(ctx))
	case <-s.ctx.Done():
		lost = fmt.Errorf("%s: %w: %w", op, ErrUncertain, s.over())
	}
	select {
	case a := <-answers: // both, and the answer is the better one
		return a.value, a.err
	default:
		return none, lost
	}
}

// enter waits for a place among the calls and for a connection.
func (s *Session) enter(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.SessionTimeout, errors.New("nobody answered in time"))
	defer cancel()
	select {
	case s.calls <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrAway, context.Cause(ctx))
	case <-s.ctx.Done():
		return s.over()
	}
	err := s.awaitConnected(ctx)
	if err != nil {
		s.leave()
	}
	return err
}

func (s *Session) leave() { <-s.calls }

// over is the error of a session that has ended.
func (s *Session) over() error { return fmt.Errorf("%w: %w", ErrOver, context.Cause(s.ctx)) }

// again reports whether something can be tried once more after err.
func (s *Session) again(ctx context.Context, err error) bool {
	return (errors.Is(err, ErrAway) || errors.Is(err, ErrUncertain)) && ctx.Err() == nil && s.ctx.Err() == nil
}

// read reads, again if the answer was lost.
func read[T any](ctx context.Context, s *Session, op string, f func(*zk.Conn) (T, error)) (value T, err error) {
	for range maxTries {
		if value, err = submit(ctx, s, op, f); err == nil || !s.again(ctx, err) {
			break
		}
	}
	return value, err
}

// write writes. When an answer was lost, landed looks whether it was done: it returns
// what the answer would have been. Otherwise the write is tried again, which is why
// it must be conditional; it is refused then if the first came through late.
func write[T any](ctx context.Context, s *Session, op string, f func(*zk.Conn) (T, error), landed func(context.Context) (value T, done bool, err error)) (T, error) {
	var none T
	lost := false
	var err error
	for range maxTries {
		var value T
		value, err = submit(ctx, s, op, f)
		if err == nil {
			return value, nil
		}
		retry := s.again(ctx, err)
		lost = lost || retry && errors.Is(err, ErrUncertain)
		if lost && ctx.Err() == nil && s.ctx.Err() == nil {
			value, done, lookErr := look(ctx, s, landed)
			switch {
			case lookErr != nil:
				return none, fmt.Errorf("%s: %w: looking for it: %w", op, ErrUncertain, lookErr)
			case done:
				return value, nil
			}
		}
		if !retry {
			return none, err
		}
	}
	return none, err
}

// look asks whether a write was done, of a server that has heard of all that was.
func look[T any](ctx context.Context, s *Session, landed func(context.Context) (T, bool, error)) (value T, done bool, err error) {
	if _, err := read(ctx, s, "sync", func(c *zk.Conn) (string, error) { return c.Sync(s.at("/")) }); err != nil {
		return value, false, err
	}
	return landed(ctx)
}

// each does n things, some at one time, until one fails.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(n, maxEach) {
		workers.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}
