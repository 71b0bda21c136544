package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
)

// openFault is a disk on which files cannot be opened for as long as fault is set
// and says so.
type openFault struct {
	disk.FS
	fault atomic.Pointer[func(name string, flag int) error]
}

func (d *openFault) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if fault := d.fault.Load(); fault != nil {
		if err := (*fault)(name, flag); err != nil {
			return nil, err
		}
	}
	return d.FS.OpenFile(name, flag, perm)
}

func (d *openFault) set(fault func(name string, flag int) error) { d.fault.Store(&fault) }

// What passes takes no partition off line: a process that has too many files open,
// and a roll that could not be begun. What was appended is there, the append that
// met it is refused, and the next one is taken.
func TestFaultThatPasses(t *testing.T) {
	value := string(bytes.Repeat([]byte("x"), 600<<10)) // two of them need a roll
	for name, tc := range map[string]struct {
		fault func(name string, flag int) error
		value string // that is appended during the fault
		want  error
	}{
		"descriptors": {func(name string, _ int) error {
			if strings.Contains(name, "press-0") {
				return syscall.EMFILE
			}
			return nil
		}, "small", commitlog.ErrDescriptors},
		"roll": {func(name string, flag int) error {
			if strings.Contains(name, "press-0") && flag&os.O_CREATE != 0 {
				return syscall.EIO
			}
			return nil
		}, value, syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			faulty := &openFault{FS: disk.OS{}}
			cfg := brokertest.Config(t.TempDir())
			cfg.FS = faulty
			cfg.TopicDefaults.SegmentBytes = 1 << 20
			b := brokertest.Start(t, cfg)
			put(t, b, "press", value)
			put(t, b, "oven", "one")
			b.Stop(t)

			b = brokertest.Start(t, cfg) // with no file open
			if err := readiness(b); err != nil {
				t.Fatal(err)
			}
			faulty.set(tc.fault)
			for range 3 {
				if err := tryPut(b, "press", tc.value); !errors.Is(err, tc.want) || errors.Is(err, commitlog.ErrOffline) {
					t.Errorf("append that meets the fault: %v, want %v", err, tc.want)
				}
			}
			put(t, b, "oven", "two")
			if err := b.Ready(); err != nil {
				t.Errorf("ready says %v", err)
			}
			faulty.fault.Store(nil)
			put(t, b, "press", "after")
			if got := get(t, b, "press", 2); got[0] != value || got[1] != "after" {
				t.Errorf("%d values are there, the last %.20q", len(got), fmt.Sprint(got[len(got)-1]))
			}
			if err := b.Ready(); err != nil {
				t.Errorf("ready says %v", err)
			}
		})
	}
}
