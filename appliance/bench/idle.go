package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// IdleReport is what a broker holds when nothing happens, and what partitions add.
type IdleReport struct {
	CPUs  int    `json:"cpus"`
	Go    string `json:"go"`
	Fleet Fleet  `json:"fleet"`
	// Empty was started on an empty directory, Idle with the fleet's partitions.
	// Active is Idle after every partition got ActiveBytes, one after the other.
	Empty  Held `json:"empty"`
	Idle   Held `json:"idle"`
	Active Held `json:"active"`
}

// Held is what a process holds: the median of each figure.
type Held struct {
	RSSBytes    int64 `json:"rssBytes"`
	HeapBytes   int64 `json:"heapBytes"` // live or not yet collected
	Descriptors int64 `json:"descriptors"`
	Goroutines  int64 `json:"goroutines"`
}

const (
	settleFor   = 5 * time.Second // until an idle process has done what it does after a start
	activeBytes = 256 << 10       // to each partition, in batches of 64 KiB
	idleBytes   = 66 << 10        // a batch in each partition, of a fleet that says 0 bytes
)

// Idle measures rounds of starts on an empty directory and on one with a fleet.
func Idle(ctx context.Context, o Options, fl Fleet) (*IdleReport, error) {
	if fl.Bytes == 0 {
		fl.Bytes = int64(fl.Partitions) * idleBytes
	}
	if err := enough(o.Dir, fl.Bytes+int64(o.Rounds*fl.Partitions)*activeBytes); err != nil {
		return nil, err
	}
	report := &IdleReport{CPUs: runtime.NumCPU(), Go: runtime.Version(), Fleet: fl}
	err := withFleet(ctx, o, fl, func(dir string, f *fleet) error {
		var empty, idle, active []Held
		for round := range o.Rounds {
			none, err := newFleet(o.Binary, fmt.Sprintf("%s-empty-%d", dir, round), fl, o.Log)
			if err != nil {
				return err
			}
			held, err := none.held(ctx)
			if err = errors.Join(err, none.Kill()); err != nil {
				return err
			}
			empty = append(empty, held)
			if held, err = f.held(ctx); err != nil {
				return err
			}
			idle = append(idle, held)
			if held, err = f.activeHeld(ctx); err != nil {
				return err
			}
			active = append(active, held)
			if err := f.stop(ctx); err != nil {
				return err
			}
			fmt.Fprintf(o.Log, "bench: round %d of %d: RSS %.1f MB empty, %.1f MB with the partitions, %.1f MB when all were written\n", round+1, o.Rounds,
				float64(empty[round].RSSBytes)/1e6, float64(idle[round].RSSBytes)/1e6, float64(active[round].RSSBytes)/1e6)
		}
		report.Empty, report.Idle, report.Active = medianHeld(empty), medianHeld(idle), medianHeld(active)
		return nil
	})
	return report, err
}

// held starts the broker, lets it be idle, and weighs it.
func (f *fleet) held(ctx context.Context) (Held, error) {
	if _, err := f.start(ctx, "sync"); err != nil {
		return Held{}, err
	}
	settle := time.NewTimer(settleFor)
	defer settle.Stop()
	select {
	case <-settle.C:
	case <-ctx.Done():
		return Held{}, ctx.Err()
	}
	return f.weigh(ctx)
}

// activeHeld writes to every partition and weighs the broker then.
func (f *fleet) activeHeld(ctx context.Context) (Held, error) {
	w := Default(Produce)
	w.Partitions, w.Bytes = f.Partitions, int64(f.Partitions)*activeBytes
	if _, err := (&load{Workload: w, address: f.Kafka, topic: fleetTopic}).run(ctx); err != nil {
		return Held{}, err
	}
	return f.weigh(ctx)
}

func (f *fleet) weigh(ctx context.Context) (h Held, err error) {
	if h.RSSBytes, _, err = f.Memory(); err != nil {
		return h, err
	}
	descriptors, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(f.PID()), "fd"))
	if err != nil {
		return h, err
	}
	h.Descriptors = int64(len(descriptors))
	for name, field := range map[string]*int64{"go_goroutines": &h.Goroutines, "go_memstats_heap_alloc_bytes": &h.HeapBytes} {
		v, err := f.Metric(ctx, name)
		if err != nil {
			return h, err
		}
		*field = int64(v)
	}
	return h, nil
}

func medianHeld(all []Held) Held {
	of := func(field func(Held) int64) int64 {
		values := make([]int64, 0, len(all))
		for _, h := range all {
			values = append(values, field(h))
		}
		slices.Sort(values)
		return values[(len(values)-1)/2]
	}
	return Held{
		RSSBytes:    of(func(h Held) int64 { return h.RSSBytes }),
		HeapBytes:   of(func(h Held) int64 { return h.HeapBytes }),
		Descriptors: of(func(h Held) int64 { return h.Descriptors }),
		Goroutines:  of(func(h Held) int64 { return h.Goroutines }),
	}
}

// Print writes r as a table for people.
func (r *IdleReport) Print(out io.Writer) error {
	fmt.Fprintf(out, "%d processors, %s; %d partitions with %.1f MB; medians\n\n", r.CPUs, r.Go, r.Fleet.Partitions, float64(r.Fleet.Bytes)/1e6)
	fmt.Fprintln(out, "| a broker with | RSS MB | more than empty | KB a partition | heap MB | descriptors | goroutines |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|")
	for _, row := range []struct {
		name string
		held Held
	}{
		{"no partition", r.Empty},
		{fmt.Sprintf("%d idle partitions", r.Fleet.Partitions), r.Idle},
		{fmt.Sprintf("the same, %d KiB just written to each", activeBytes>>10), r.Active},
	} {
		more := float64(row.held.RSSBytes - r.Empty.RSSBytes)
		fmt.Fprintf(out, "| %s | %.1f | %.1f | %.1f | %.1f | %d | %d |\n", row.name, float64(row.held.RSSBytes)/1e6, more/1e6,
			more/1e3/float64(r.Fleet.Partitions), float64(row.held.HeapBytes)/1e6, row.held.Descriptors, row.held.Goroutines)
	}
	return nil
}
