package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/headwater/headwater/appliance/process"
)

const (
	publishers = 64
	warmUp     = 20  // messages of each publisher before it counts
	messages   = 500 // messages of each publisher that count
	payload    = 128 // bytes
)

// syncs is the metric that counts syncs of the data directory.
const syncs = "headwater_commit_syncs_total"

// measureAcks lets publishers send one acked message after the other, and counts
// the syncs that this took.
func measureAcks(ctx context.Context, binary, dir string) (rows []row, err error) {
	p, err := process.New(binary, filepath.Join(dir, "acks"))
	if err != nil {
		return nil, err
	}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Kill()) }()

	var conns []*nats.Conn
	defer func() {
		for _, nc := range conns {
			nc.Close()
		}
	}()
	for range publishers {
		nc, err := nats.Connect("nats://" + p.NATS)
		if err != nil {
			return nil, err
		}
		conns = append(conns, nc)
	}
	if err := publishAll(ctx, conns, warmUp); err != nil {
		return nil, err
	}
	before, err := p.Metric(ctx, syncs)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := publishAll(ctx, conns, messages); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := p.Metric(ctx, syncs)
	if err != nil {
		return nil, err
	}
	_, peak, err := p.Memory()
	if err != nil {
		return nil, err
	}
	total := float64(publishers * messages)
	return []row{ // 64 publishers, 128 B, one message in flight each
		{"syncs per 1,000 acked messages", (after - before) / total * 1000, ""},
		{"acked messages per second", total / took.Seconds(), ""},
		{"peak RSS, 64 publishers", megabytes(peak), "MB"},
	}, nil
}

// publishAll sends n messages on every connection at once, each after the answer
// to the one before.
func publishAll(ctx context.Context, conns []*nats.Conn, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, nc := range conns {
		wg.Go(func() {
			subject := fmt.Sprintf("telemetry.device%d.bench", i)
			for range n {
				if errs[i] = publish(ctx, nc, subject); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func publish(ctx context.Context, nc *nats.Conn, subject string) error {
	m, err := nc.RequestWithContext(ctx, subject, make([]byte, payload))
	if err != nil {
		return fmt.Errorf("publish on %s: %w", subject, err)
	}
	var answer struct {
		Seq   uint64
		Error *struct{ Description string }
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("answer on %s: %w", subject, err)
	}
	if answer.Error != nil || answer.Seq == 0 {
		return fmt.Errorf("not acked on %s: %s", subject, m.Data)
	}
	return nil
}
