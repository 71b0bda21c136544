package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/headwater/headwater/appliance/e2e/fleet"
	"github.com/headwater/headwater/appliance/process"
)

// ceilings are those that boxes have, in MiB.
var ceilings = []int{64, 128, 256}

// loadFor is how long each load lasts.
const loadFor = 10 * time.Second

// measureLoads has a hundred devices and four readers come, under each ceiling.
func measureLoads(ctx context.Context, binary, dir string) (rows []row, err error) {
	for _, mib := range ceilings {
		more, err := measureLoad(ctx, binary, filepath.Join(dir, fmt.Sprint("load-", mib)), mib)
		if err != nil {
			return nil, fmt.Errorf("under %d MiB: %w", mib, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// measureLoad ends with a kill and a start, which finds what the load has left.
func measureLoad(ctx context.Context, binary, dir string, mib int) (rows []row, err error) {
	p, err := process.New(binary, dir)
	if err != nil {
		return nil, err
	}
	p.Env = []string{fmt.Sprintf("HEADWATER_MEMORY_LIMIT=%dMiB", mib), "HEADWATER_TOPICS_RETENTION_BYTES=-1"}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Kill()) }()
	result, err := fleet.Crowd{
		NATS: p.NATS, MQTT: p.MQTT, Kafka: p.Kafka, Devices: 100, Readers: 4, Payload: 128, Window: 8, For: loadFor,
	}.Run(ctx)
	if err != nil {
		return nil, err
	}
	_, peak, err := p.Memory()
	if err != nil {
		return nil, err
	}
	if err := p.Kill(); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	under := fmt.Sprintf("under %d MiB", mib)
	return []row{
		{"peak RSS under load, " + under, megabytes(peak), "MB"},
		{"acked messages per second under load, " + under, float64(result.Acked) / result.Took.Seconds(), ""},
		{"records read per second under load, " + under, float64(result.Read) / result.Took.Seconds(), ""},
		{"start to ready after a kill, " + under, milliseconds(time.Since(begin)), "ms"},
	}, nil
}
