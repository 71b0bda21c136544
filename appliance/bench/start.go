package bench

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// StartReport is how long a broker takes to be ready after a SIGKILL under load,
// and reading all that it holds.
type StartReport struct {
	CPUs  int    `json:"cpus"`
	Go    string `json:"go"`
	Fleet Fleet  `json:"fleet"`
	// Cached is with the directory in the page cache; Dropped with the machine's
	// caches emptied before, nil where that is not allowed.
	Cached  StartFigures  `json:"cached"`
	Dropped *StartFigures `json:"dropped,omitempty"`
}

// StartFigures are of one state of the page cache.
type StartFigures struct {
	Starts []time.Duration `json:"startsNs"` // to ready, round by round
	Scans  []time.Duration `json:"scansNs"`
}

// trickleFor is how long a broker is under load before it is killed: long enough
// for one checkpoint, so that what it finds is what a kill leaves at any time.
const trickleFor = 7 * time.Second

// Start measures rounds of a start after SIGKILL, in both states of the page cache.
func Start(ctx context.Context, o Options, fl Fleet) (*StartReport, error) {
	if err := enough(o.Dir, fl.Bytes+fl.Bytes/50); err != nil {
		return nil, err
	}
	report := &StartReport{CPUs: runtime.NumCPU(), Go: runtime.Version(), Fleet: fl}
	err := withFleet(ctx, o, fl, func(dir string, f *fleet) (err error) {
		if _, err := f.start(ctx, "sync"); err != nil {
			return err
		}
		if _, err := scan(ctx, dir); err != nil { // what fits is in the cache from now on
			return err
		}
		if report.Cached, err = f.starts(ctx, o.Rounds, func() error { return nil }); err != nil {
			return err
		}
		if !mayDropCaches() {
			return nil
		}
		figures, err := f.starts(ctx, o.Rounds, dropCaches)
		report.Dropped = &figures
		return err
	})
	return report, err
}

// starts kills the broker under load and starts it, again and again; prepare comes
// before each start and each scan.
func (f *fleet) starts(ctx context.Context, rounds int, prepare func() error) (figures StartFigures, err error) {
	for round := range rounds {
		if err := f.killUnderLoad(ctx); err != nil {
			return figures, err
		}
		if err := prepare(); err != nil {
			return figures, err
		}
		start, err := f.start(ctx, "sync")
		if err != nil {
			return figures, err
		}
		if err := prepare(); err != nil {
			return figures, err
		}
		begin := time.Now()
		bytes, err := scan(ctx, f.DataDir)
		if err != nil {
			return figures, err
		}
		took := time.Since(begin)
		fmt.Fprintf(f.log, "bench: round %d of %d: ready after %v, all %.1f GB read and checksummed in %v\n",
			round+1, rounds, start.Round(time.Millisecond), float64(bytes)/1e9, took.Round(time.Millisecond))
		figures.Starts, figures.Scans = append(figures.Starts, start), append(figures.Scans, took)
	}
	return figures, nil
}

// killUnderLoad ends the broker in the middle of what it does.
func (f *fleet) killUnderLoad(ctx context.Context) error {
	before, err := f.Metric(ctx, "headwater_commit_appended_bytes_total")
	if err != nil {
		return err
	}
	loading, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.trickle(loading, fleetLife) // ends with an error: the broker is killed under it
	}()
	wait := time.NewTimer(trickleFor)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ended: // too early: told by the bytes
	case <-ctx.Done():
	}
	after, err := f.Metric(ctx, "headwater_commit_appended_bytes_total")
	err = errors.Join(err, f.Kill(), ctx.Err())
	cancel()
	<-ended
	if err == nil && after <= before {
		err = errors.New("the broker took nothing before it was killed")
	}
	return err
}

// scanBytes is read at a time by a scan.
const scanBytes = 128 << 10

// scan reads and checksums every byte of all segments, as many at a time as there
// are processors, and returns how many bytes that were.
func scan(ctx context.Context, dir string) (bytes int64, err error) {
	var names []string
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".log") {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	workers := runtime.NumCPU()
	sizes := make([]int64, workers)
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			buf := make([]byte, scanBytes)
			for i := w; i < len(names); i += workers {
				n, err := scanFile(names[i], buf)
				if sizes[w] += n; err != nil || ctx.Err() != nil {
					return errors.Join(err, ctx.Err())
				}
			}
			return nil
		})
	}
	err = g.Wait()
	for _, n := range sizes {
		bytes += n
	}
	return bytes, err
}

func scanFile(name string, buf []byte) (bytes int64, err error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	sum := uint32(0)
	for {
		n, err := file.Read(buf)
		sum = crc32.Update(sum, castagnoli, buf[:n])
		bytes += int64(n)
		if err == io.EOF {
			return bytes, nil
		}
		if err != nil {
			return bytes, err
		}
	}
}

// dropFile empties the machine's page, dentry and inode caches when it is written.
const dropFile = "/proc/sys/vm/drop_caches"

func mayDropCaches() bool {
	f, err := os.OpenFile(dropFile, os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	return err == nil
}

func dropCaches() error {
	syscall.Sync() // what is dirty stays in the cache
	return os.WriteFile(dropFile, []byte("3\n"), 0)
}

// Print writes r as a table for people.
func (r *StartReport) Print(out io.Writer) error {
	fmt.Fprintf(out, "%d processors, %s; start after SIGKILL under light load, %d partitions with %.1f GB\n\n",
		r.CPUs, r.Go, r.Fleet.Partitions, float64(r.Fleet.Bytes)/1e9)
	fmt.Fprintln(out, "| page cache | start to ready, median (all) | full scan, median (all) | start / scan |")
	fmt.Fprintln(out, "|---|---|---|---|")
	row := func(name string, f StartFigures) {
		start, full := medianTime(f.Starts), medianTime(f.Scans)
		fmt.Fprintf(out, "| %s | %s (%s) | %s (%s) | 1 / %.1f |\n", name,
			seconds(start), seconds(f.Starts...), seconds(full), seconds(f.Scans...), full.Seconds()/max(start.Seconds(), 1e-9))
	}
	row("warm", r.Cached)
	if r.Dropped != nil {
		row("dropped", *r.Dropped)
	}
	return nil
}

// medianTime is the median: of an even number, the lower of the two in the middle.
func medianTime(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[(len(all)-1)/2]
}

func seconds(all ...time.Duration) string {
	texts := make([]string, len(all))
	for i, d := range all {
		texts[i] = fmt.Sprintf("%.2f s", d.Seconds())
	}
	return strings.Join(texts, ", ")
}
