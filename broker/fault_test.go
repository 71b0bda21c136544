package broker_test

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// badBlock is a disk on which the batches of one partition meet a bad block once:
// the write, or the sync, that comes when armed is set fails, and none after it.
type badBlock struct {
	disk.FS
	partition string
	onSync    bool
	armed     atomic.Bool
	later     atomic.Int64 // writes and syncs of the partition after the failure
	failed    atomic.Bool
}

func (d *badBlock) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if err == nil && strings.HasSuffix(name, ".log") && strings.Contains(name, d.partition) {
		return badFile{f, d}, nil
	}
	return f, err
}

type badFile struct {
	disk.File
	d *badBlock
}

func (d *badBlock) meet(sync bool) error {
	if d.failed.Load() {
		d.later.Add(1)
	}
	if sync == d.onSync && d.armed.Swap(false) {
		d.failed.Store(true)
		return fmt.Errorf("block 7: %w", syscall.EIO)
	}
	return nil
}

func (f badFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.d.meet(false); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f badFile) Sync() error {
	if err := f.d.meet(true); err != nil {
		return err
	}
	return f.File.Sync()
}

// A write or a sync that fails takes its partition off line, with the reason in
// Ready, and no other. It is not tried again, though the disk would let it pass;
// after a restart what was durable is there, and the partition serves.
func TestDiskFault(t *testing.T) {
	for name, onSync := range map[string]bool{"write": false, "sync": true} {
		t.Run(name, func(t *testing.T) {
			bad := &badBlock{FS: disk.OS{}, partition: "press-0", onSync: onSync}
			cfg := brokertest.Config(t.TempDir())
			cfg.FS = bad
			b := brokertest.Start(t, cfg)
			put(t, b, "press", "kept")
			put(t, b, "oven", "one")
			if err := readiness(b); err != nil {
				t.Fatalf("before the fault: %v", err)
			}
			bad.armed.Store(true)
			for range 3 {
				if err := tryPut(b, "press", "lost"); !errors.Is(err, commitlog.ErrOffline) {
					t.Errorf("append to the partition with the fault: %v, want %v", err, commitlog.ErrOffline)
				}
			}
			put(t, b, "oven", "two")
			put(t, b, "mill", "a new topic's")
			if got := get(t, b, "oven", 2); fmt.Sprint(got) != "[one two]" {
				t.Errorf("the neighbour has %v", got)
			}
			err := b.Ready()
			if err == nil || !strings.Contains(err.Error(), "1 partitions are offline: press-0 (") || !strings.Contains(err.Error(), "block 7: input/output error") {
				t.Errorf("ready says %v, want press-0 and why", err)
			}
			b.Stop(t)
			if n := bad.later.Load(); n != 0 {
				t.Errorf("%d writes or syncs after the one that failed, want none", n)
			}

			cfg.FS = nil
			b = brokertest.Start(t, cfg)
			if err := readiness(b); err != nil {
				t.Errorf("after a restart: %v", err)
			}
			put(t, b, "press", "again")
			if got := get(t, b, "press", 2); got[0] != "kept" {
				t.Errorf("after a restart there is %v, want kept first", got)
			}
		})
	}
}

// readiness is what Ready says once the broker runs.
func readiness(b *brokertest.Box) error {
	for {
		err := b.Ready()
		if err == nil || err.Error() != "not running" {
			return err
		}
		runtime.Gosched()
	}
}

// tryPut appends one value and returns what became of it.
func tryPut(b *brokertest.Box, topicName, value string) error {
	var bu record.Builder
	bu.Add(1000, nil, []byte(value), nil)
	done := make(chan error, 1)
	b.Append(topicName, 0, bu.Batch(), func(_ int64, err error) { done <- err })
	return <-done
}
