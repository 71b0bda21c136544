package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/broker/disk"
)

// Fleet is a topic with many partitions: what Start and Idle fill a data directory
// with.
type Fleet struct {
	Partitions int   `json:"partitions"`
	Bytes      int64 `json:"bytes"` // of all partitions together, in batches of 64 KiB
}

// Validate reports everything that is wrong with f, by the names of the flags.
func (f Fleet) Validate() error {
	var errs []error
	if f.Partitions < 1 || f.Partitions > maxFleet {
		errs = append(errs, fmt.Errorf("--partitions: %d; allowed is 1 to %d", f.Partitions, maxFleet))
	}
	if f.Bytes < 0 || f.Bytes > 1<<40 {
		errs = append(errs, fmt.Errorf("--bytes: %d; allowed is 0 to %d", f.Bytes, int64(1)<<40))
	}
	return errors.Join(errs...)
}

const (
	maxFleet   = 10_000
	fleetTopic = "headwater-bench-fleet"
	spareBytes = 2 << 30 // that stay free on the disk, whatever is written
	fleetLife  = 5 * time.Minute
	progress   = 5 * time.Second // between two lines about it
)

// fleet is a broker with its data directory, which is removed after it.
type fleet struct {
	*process.Process
	Fleet
	log io.Writer
}

// withFleet hands do a fleet that is filled, and ends it after.
func withFleet(ctx context.Context, o Options, fl Fleet, do func(dir string, f *fleet) error) error {
	return inTemporary(o.Dir, func(dir string) (err error) {
		f, err := newFleet(o.Binary, dir, fl, o.Log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Kill()) }()
		if err := f.fill(ctx); err != nil {
			return err
		}
		return do(dir, f)
	})
}

// newFleet prepares a broker in a directory of its own under dir. Nothing is
// started.
func newFleet(binary, dir string, f Fleet, log io.Writer) (*fleet, error) {
	p, err := process.New(binary, dir)
	if err != nil {
		return nil, err
	}
	return &fleet{p, f, log}, nil
}

// start starts the broker and returns how long it took to be ready.
func (f *fleet) start(ctx context.Context, durability string) (time.Duration, error) {
	f.Env = []string{
		"HEADWATER_DATA_DURABILITY=" + durability,
		"HEADWATER_LOG_LEVEL=error",
		"HEADWATER_KAFKA_AUTO_CREATE_TOPICS=false",
		"HEADWATER_KAFKA_MAX_PARTITIONS=" + strconv.Itoa(f.Partitions+1),
	}
	ctx, cancel := context.WithTimeout(ctx, fleetLife)
	defer cancel()
	begin := time.Now()
	err := f.Start(ctx)
	return time.Since(begin), err
}

// stop ends it the clean way.
func (f *fleet) stop(ctx context.Context) error {
	if err := f.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fleetLife)
	defer cancel()
	code, err := f.Wait(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("the broker ended with exit code %d\n%s", code, f.Log())
	}
	return err
}

// fill makes the topic and writes the same to each of its partitions.
func (f *fleet) fill(ctx context.Context) error {
	if _, err := f.start(ctx, "os"); err != nil {
		return err
	}
	w := Default(Produce)
	w.Partitions = f.Partitions
	w.Kind = Fetch // a topic that keeps all
	if err := createTopic(ctx, f.Kafka, fleetTopic, w); err != nil {
		return err
	}
	w.Kind, w.Bytes, w.Connections = Produce, f.Bytes, 2
	if w.Bytes > 0 {
		l := &load{Workload: w, address: f.Kafka, topic: fleetTopic}
		defer f.tell(ctx, l)()
		if _, err := l.run(ctx); err != nil {
			return err
		}
	}
	return f.stop(ctx)
}

// tell writes how far a load is, until stop is called.
func (f *fleet) tell(ctx context.Context, l *load) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progress)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				fmt.Fprintf(f.log, "bench: %.1f of %.1f GB written\n", float64(l.Bytes-max(l.left.Load(), 0))/1e9, float64(l.Bytes)/1e9)
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// trickle is a light load: one request of 1 KiB in flight, to each partition in
// turn, synced.
func (f *fleet) trickle(ctx context.Context, duration time.Duration) error {
	w := Default(Commit)
	w.Partitions, w.Connections, w.InFlight, w.Duration = f.Partitions, 1, 1, duration
	_, err := (&load{Workload: w, address: f.Kafka, topic: fleetTopic}).run(ctx)
	return err
}

// enough refuses to fill a disk to its end.
func enough(dir string, need int64) error {
	free, err := disk.Free(disk.OS{}, dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if free < need+spareBytes {
		return fmt.Errorf("%s has %.1f GB free, and %.1f GB are needed, with %.1f GB to stay free; fewer --bytes need less", dir, float64(free)/1e9, float64(need+spareBytes)/1e9, float64(spareBytes)/1e9)
	}
	return nil
}

// inTemporary runs do with a new directory below dir, which it removes.
func inTemporary(dir string, do func(dir string) error) error {
	dir, err := os.MkdirTemp(dir, "headwater-bench-")
	if err != nil {
		return err
	}
	err = do(filepath.Join(dir, "data"))
	return errors.Join(err, os.RemoveAll(dir))
}
