// Package bench owns the load that `headwater bench` puts on a broker, and the
// limits of the machine that it measures beside it: what receiving, checksumming
// and writing the same bytes costs when nothing else is done with them.
//
// A broker and each limit are processes of their own, so that the processor time
// of the side that serves can be told from the client's. They take turns at the
// same load, pass by pass, and medians over the passes are compared: what a byte
// costs on one machine changes from minute to minute. The first pass of each
// warms up and does not count.
//
// It knows headwater by its ports and by /proc alone. Sizes are bytes, MB and GB
// are 1,000,000 and 1,000,000,000 of them, and count whole record batches.
package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// Options say where and how often a Workload is run.
type Options struct {
	Address string    // of a broker that runs already; "" starts one
	Binary  string    // headwater's own, for the processes that are started
	Dir     string    // temporary directories are made in it
	Rounds  int       // passes that count, of each side
	Log     io.Writer // progress
}

// Run measures each workload, one after the other, and the limits between them.
func Run(ctx context.Context, o Options, workloads []Workload) (*Report, error) {
	report := &Report{CPUs: runtime.NumCPU(), Go: runtime.Version()}
	dir, err := os.MkdirTemp(o.Dir, "headwater-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	o.Dir = dir
	if o.Address == "" {
		fmt.Fprintln(o.Log, "bench: writing and syncing without a network")
		if report.Disk, err = measureDisk(ctx, dir); err != nil {
			return nil, err
		}
	}
	for _, w := range workloads {
		result, err := o.measure(ctx, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.Kind, err)
		}
		report.Workloads = append(report.Workloads, result)
	}
	return report, nil
}

// measure runs every side of w in turns.
func (o Options) measure(ctx context.Context, w Workload) (_ Measured, err error) {
	sides, stop, err := o.start(ctx, w)
	defer func() {
		if stopErr := stop(); err == nil {
			err = stopErr
		}
	}()
	if err != nil {
		return Measured{}, err
	}
	passes := make([][]Figures, len(sides))
	for round := range o.Rounds + 1 {
		for i, s := range sides {
			f, err := s.pass(ctx, w, round)
			if err != nil {
				return Measured{}, fmt.Errorf("%s: %w", s.name, err)
			}
			fmt.Fprintf(o.Log, "bench: %s, round %d of %d: %s: %.0f MB/s, %s cpu-s/GB\n",
				w.Kind, round, o.Rounds, s.name, f.MBPerSecond, number(f.CPUPerGB, 3))
			if round > 0 {
				passes[i] = append(passes[i], f)
			}
		}
	}
	m := Measured{Workload: w}
	for i, s := range sides {
		m.Sides = append(m.Sides, SideFigures{Name: s.name, Figures: median(passes[i])})
	}
	return m, nil
}

// start makes ready all sides of w: the broker first. stop ends what was started,
// also after an error.
func (o Options) start(ctx context.Context, w Workload) (sides []*side, stop func() error, err error) {
	stop = func() (err error) {
		for _, s := range sides {
			if stopErr := s.stop(); err == nil {
				err = stopErr
			}
		}
		return err
	}
	if o.Address != "" {
		return []*side{elsewhere(o.Address)}, stop, nil
	}
	ours, err := startBroker(ctx, o.Binary, filepath.Join(o.Dir, string(w.Kind)), w)
	if err != nil {
		return nil, stop, err
	}
	sides = append(sides, ours)
	for _, limit := range limitsOf[w.Kind] {
		dir := filepath.Join(o.Dir, fmt.Sprintf("%s-%s", w.Kind, limit))
		s, err := startLimit(ctx, o.Binary, dir, limit, w)
		if err != nil {
			return sides, stop, err
		}
		sides = append(sides, s)
	}
	return sides, stop, nil
}
