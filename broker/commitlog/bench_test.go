package commitlog

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// recycled gives every new segment the file of an old one, in turn, which is
// written over and never synced. On a virtual machine a file that grows pays for
// the host's memory, up to six times what the write itself costs.
type recycled struct {
	disk.OS
	files []string
	next  atomic.Int32
}

func (r *recycled) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if !strings.HasSuffix(name, logExt) || flag&os.O_CREATE == 0 {
		return r.OS.OpenFile(name, flag, perm)
	}
	f, err := r.OS.OpenFile(r.files[int(r.next.Add(1))%len(r.files)], os.O_RDWR, 0)
	return unsynced{f}, err
}

type unsynced struct{ disk.File }

func (unsynced) Sync() error { return nil }

// cpuSeconds is what this process has used.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func BenchmarkAppend64KiB(b *testing.B) {
	const segment = 16 << 20
	path := b.TempDir()
	fsys := &recycled{}
	for _, name := range []string{"a", "b", "c", "d"} {
		fsys.files = append(fsys.files, filepath.Join(path, name))
		if err := os.WriteFile(filepath.Join(path, name), make([]byte, segment), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	d := must(run(fsys, filepath.Join(path, "data"), Options{Policy: OS}))
	defer d.stop()
	l := d.mustOpen(b, "t-0", Settings{SegmentBytes: segment, RetentionBytes: -1, Retention: -1})
	batch := newBatch(64, 0, 1000, 'x')
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	before := cpuSeconds(b)
	for b.Loop() {
		l.mustAppend(b, batch)
	}
	b.ReportMetric((cpuSeconds(b)-before)/(float64(b.N)*float64(len(batch))/1e9), "cpu-s/GB")
}

func BenchmarkSyncAppend128InFlight(b *testing.B) {
	d := must(run(disk.OS{}, filepath.Join(b.TempDir(), "data"), Options{}))
	defer d.stop()
	l, err := d.OpenLog("t-0", topicA, Settings{SegmentBytes: 16 << 20, RetentionBytes: -1, Retention: -1})
	if err != nil {
		b.Fatal(err)
	}
	var mu sync.Mutex // as partition does it: all that wait, woken by the durable end
	durable := sync.NewCond(&mu)
	l.Notify(func(int64, error) { mu.Lock(); durable.Broadcast(); mu.Unlock() })
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var clients sync.WaitGroup
	for range 128 {
		clients.Go(func() {
			batch := newBatch(1, 0, 900, 'x')
			for left.Add(-1) >= 0 {
				base, err := l.Append(batch, 0)
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				for l.DurableEnd() <= base {
					durable.Wait()
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	b.ReportMetric(1000*testutil.ToFloat64(d.metrics.syncs)/float64(b.N), "syncs/1000")
}

func BenchmarkRead(b *testing.B) {
	for name, maxBytes := range map[string]int{"1MiB": 1 << 20, "64KiB": 64 << 10, "one": 1} {
		b.Run(name, func(b *testing.B) {
			d := must(run(disk.OS{}, filepath.Join(b.TempDir(), "data"), Options{Policy: OS}))
			defer d.stop()
			l := d.mustOpen(b, "t-0", Settings{SegmentBytes: 16 << 20, RetentionBytes: -1, Retention: -1})
			for range 4000 {
				l.mustAppend(b, newBatch(10, 0, 900, 'x'))
			}
			b.ReportAllocs()
			read := int64(0)
			for i := int64(0); b.Loop(); i++ {
				got, err := l.Read(i*977%l.EndOffset(), l.EndOffset(), maxBytes, true)
				if err != nil || len(got) == 0 {
					b.Fatal(len(got), err)
				}
				read += int64(len(got))
			}
			b.SetBytes(read / int64(b.N))
		})
	}
}

// A follower gets many small batches with a fetch.
func BenchmarkAppendReplicas(b *testing.B) {
	for name, put := range map[string]func(l *watched, fetched []byte) error{
		"together": func(l *watched, fetched []byte) error { return l.AppendReplicas(fetched) },
		"each": func(l *watched, fetched []byte) error {
			for len(fetched) > 0 {
				batch, rest, err := record.Split(fetched)
				if err == nil {
					err = l.AppendReplica(batch)
				}
				if err != nil {
					return err
				}
				fetched = rest
			}
			return nil
		},
	} {
		b.Run(name, func(b *testing.B) {
			d := must(run(disk.OS{}, filepath.Join(b.TempDir(), "data"), Options{Policy: OS}))
			defer d.stop()
			l := d.mustOpen(b, "t-0", Settings{SegmentBytes: 16 << 20, RetentionBytes: 0, Retention: -1})
			fetched := bytes.Repeat(newBatch(4, 0, 1000, 'x'), 64)
			b.SetBytes(int64(len(fetched)))
			b.ReportAllocs()
			for b.Loop() {
				for rest, at := fetched, l.EndOffset(); len(rest) > 0; at += 4 {
					batch, after, err := record.Split(rest)
					if err != nil {
						b.Fatal(err)
					}
					batch.Stamp(at, 0)
					rest = after
				}
				if err := put(l, fetched); err != nil {
					b.Fatal(err)
				}
				if _, err := l.Retain(l.EndOffset()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
