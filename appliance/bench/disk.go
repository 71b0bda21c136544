package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

const (
	diskBytes  = 1 << 30  // written by one pass of a limit
	diskWrite  = 64 << 10 // at a time
	diskSyncs  = 500      // messages, each synced
	diskPasses = 3        // that count, of each
	diskFile   = 16 << 20 // of a growing file
)

// measureDisk measures what this process can do to files when it does nothing
// else: writing into the page cache, over the same pages and into new ones, in
// turns; and a sync for each small message.
func measureDisk(ctx context.Context, dir string) ([]DiskFigures, error) {
	limits := []struct {
		name string
		run  func(dir string, h *histogram) (int64, error)
	}{
		{"page cache write 64 KiB, recycled file", writeRecycled},
		{"page cache write 64 KiB, growing files", writeGrowing},
		{"1 KiB append and fdatasync", syncEach},
	}
	passes := make([][]Figures, len(limits))
	for round := range diskPasses + 1 {
		for i, l := range limits {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			f, err := timeDisk(filepath.Join(dir, "disk-"+strconv.Itoa(i)), l.run)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				passes[i] = append(passes[i], f)
			}
		}
	}
	var out []DiskFigures
	for i, l := range limits {
		m := median(passes[i])
		out = append(out, DiskFigures{l.name, m.MBPerSecond, *m.CPUPerGB, m.P50, m.P99})
	}
	return out, nil
}

func timeDisk(dir string, run func(string, *histogram) (int64, error)) (Figures, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Figures{}, err
	}
	cpu, start := ownCPU(), time.Now()
	var d done
	var err error
	d.bytes, err = run(dir, &d.latency)
	if err != nil {
		return Figures{}, err
	}
	d.requests, d.took = int64(d.latency.total), time.Since(start)
	f := figuresOf(&d)
	perGB := (ownCPU() - cpu).Seconds() / (float64(d.bytes) / 1e9)
	f.CPUPerGB = &perGB
	return f, nil
}

// ownCPU is the processor time that this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it cannot fail for the process itself
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func writeRecycled(dir string, h *histogram) (int64, error) {
	return writeFiles(filepath.Join(dir, "recycled"), diskBytes, recycledBytes, h)
}

// writeGrowing fills new files; it removes those of the pass before as it goes.
func writeGrowing(dir string, h *histogram) (total int64, err error) {
	names := make([]string, 0, diskBytes/diskFile)
	for i := range cap(names) {
		name := filepath.Join(dir, strconv.Itoa(i))
		names = append(names, name)
		os.Remove(name) // the one of the pass before
		n, err := writeFiles(name, diskFile, diskFile, h)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// writeFiles writes total bytes into a file, from its beginning again after each
// fileBytes.
func writeFiles(name string, total, fileBytes int64, h *histogram) (n int64, err error) {
	file, err := disk.OS{}.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buf := make([]byte, diskWrite)
	for ; n < total; n += diskWrite {
		start := time.Now()
		if _, err := file.WriteAt(buf, n%fileBytes); err != nil {
			return 0, err
		}
		h.add(time.Since(start))
	}
	return n, nil
}

func syncEach(dir string, h *histogram) (n int64, err error) {
	name := filepath.Join(dir, "synced")
	os.Remove(name)
	file, err := disk.OS{}.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buf := make([]byte, 1<<10)
	for range diskSyncs {
		start := time.Now()
		if _, err := file.WriteAt(buf, n); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		h.add(time.Since(start))
		n += int64(len(buf))
	}
	return n, nil
}
