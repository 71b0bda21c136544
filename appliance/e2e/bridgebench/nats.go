package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsPublish has clients publish for a while with a window of messages each that
// are not acked yet. All are acked in the end, or it is an error.
func natsPublish(size, clients, inFlight int) func(context.Context, *side, time.Duration) (int, time.Duration, error) {
	return func(ctx context.Context, s *side, d time.Duration) (int, time.Duration, error) {
		conns := make([]*nats.Conn, clients)
		for i := range conns {
			nc, err := nats.Connect("nats://" + s.nats)
			if err != nil {
				return 0, 0, err
			}
			defer nc.Close()
			conns[i] = nc
		}
		payload := make([]byte, size)
		return together(clients, func(i int, ended *atomic.Bool) (int, error) {
			subject := fmt.Sprintf("telemetry.device%d.bench", i)
			if inFlight == 1 {
				return publishOneByOne(ctx, conns[i], subject, payload, ended)
			}
			return publishAsync(ctx, conns[i], subject, payload, inFlight, ended)
		}, d)
	}
}

// together runs clients at once until d has passed. It returns how many messages they
// came to, and how long the last of them took.
func together(clients int, client func(i int, ended *atomic.Bool) (int, error), d time.Duration) (messages int, took time.Duration, err error) {
	var ended atomic.Bool
	counts, errs := make([]int, clients), make([]error, clients)
	begin := time.Now()
	timer := time.AfterFunc(d, func() { ended.Store(true) })
	defer timer.Stop()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			counts[i], errs[i] = client(i, &ended)
			if errs[i] != nil {
				ended.Store(true)
			}
		})
	}
	all.Wait()
	took = time.Since(begin)
	for _, n := range counts {
		messages += n
	}
	if messages == 0 {
		errs = append(errs, errors.New("no message was acked"))
	}
	return messages, took, errors.Join(errs...)
}

func publishOneByOne(ctx context.Context, nc *nats.Conn, subject string, payload []byte, ended *atomic.Bool) (n int, err error) {
	for ; !ended.Load(); n++ {
		m, err := nc.RequestWithContext(ctx, subject, payload)
		if err != nil {
			return n, err
		}
		var ack struct {
			Seq   uint64
			Error any
		}
		if err := json.Unmarshal(m.Data, &ack); err != nil || ack.Seq == 0 || ack.Error != nil {
			return n, fmt.Errorf("not acked: %s", m.Data)
		}
	}
	return n, nil
}

func publishAsync(ctx context.Context, nc *nats.Conn, subject string, payload []byte, inFlight int, ended *atomic.Bool) (n int, err error) {
	var failed atomic.Pointer[error]
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(inFlight), jetstream.WithPublishAsyncErrHandler(
		func(_ jetstream.JetStream, _ *nats.Msg, err error) { failed.Store(&err) }))
	if err != nil {
		return 0, err
	}
	for ; !ended.Load(); n++ {
		if _, err := js.PublishAsync(subject, payload, jetstream.WithStallWait(30*time.Second)); err != nil {
			return n, err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return n, ctx.Err()
	}
	if err := failed.Load(); err != nil {
		return n, *err
	}
	return n, nil
}

// consumed is how many messages an ordered consumer reads in a pass.
const consumed = 100_000

// natsFill puts into the stream what is going to be read.
func natsFill(size int) func(context.Context, *side) error {
	return func(ctx context.Context, s *side) error {
		nc, err := nats.Connect("nats://" + s.nats)
		if err != nil {
			return err
		}
		defer nc.Close()
		var ended atomic.Bool
		payload := make([]byte, size)
		for n := 0; n < consumed; {
			ended.Store(false)
			stop := time.AfterFunc(time.Second, func() { ended.Store(true) })
			more, err := publishAsync(ctx, nc, "telemetry.device0.bench", payload, window, &ended)
			stop.Stop()
			if err != nil {
				return err
			}
			n += more
		}
		return nil
	}
}

// natsConsume reads the first messages of the stream in order. It lasts as long as
// that takes.
func natsConsume(ctx context.Context, s *side, _ time.Duration) (int, time.Duration, error) {
	nc, err := nats.Connect("nats://" + s.nats)
	if err != nil {
		return 0, 0, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, 0, err
	}
	c, err := js.OrderedConsumer(ctx, s.stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	done := make(chan error, 1)
	n := 0
	reading, err := c.Consume(func(m jetstream.Msg) {
		if n++; n < consumed {
			return
		}
		meta, err := m.Metadata()
		if err == nil && meta.Sequence.Stream != consumed {
			err = fmt.Errorf("message %d is at %d", n, meta.Sequence.Stream)
		}
		select {
		case done <- err:
		default:
		}
	})
	if err != nil {
		return 0, 0, err
	}
	defer reading.Stop()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return consumed, time.Since(begin), err
}
