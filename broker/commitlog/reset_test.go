package commitlog

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/headwater/headwater/broker/disk"
)

// A log that is reset is empty at its new start, which may be anywhere, at once and
// after a restart, and goes on from there.
func TestReset(t *testing.T) {
	for name, end := range ends {
		for _, policy := range []Policy{Sync, OS} {
			for _, to := range []int64{0, 5, 8, 20, 39, 40, 41, 1000, 5 << 30} {
				t.Run(fmt.Sprint(name, policy, to), func(t *testing.T) {
					crash := disk.NewCrash(1)
					d, l, _ := epochal(t, crash, Options{Policy: policy})
					if _, err := l.DeleteBefore(6); err != nil {
						t.Fatal(err)
					}
					l.SetHighWatermark(38)
					mustDo(t, d.checkpoint(true))
					mustDo(t, l.Reset(to))
					checkWhole(t, l.Log, to, to, nil)
					if used := d.budget.used.Load(); used != 0 {
						t.Errorf("the budget counts %d bytes", used)
					}
					crash = end(t, d, crash)
					d = start(t, crash, Options{Policy: policy})
					l = d.mustOpen(t, "t-0", fourASegment)
					checkWhole(t, l.Log, to, to, nil)
					if base := l.mustAppend(t, newBatch(2, 0, 1, 'x')); base != to {
						t.Errorf("the next batch is at %d", base)
					}
					mustDo(t, l.Flush())
					checkOffsetsIn(t, d.Dir, l.Log)
				})
			}
		}
	}
}

// checkOffsetsIn looks for checkpoints of Kafka's that say no more than the log has.
func checkOffsetsIn(t *testing.T, d *Dir, l *Log) {
	t.Helper()
	for _, file := range []string{startOffsetFile, highWatermarkFile, recoveryPointFile} {
		if said := d.loadOffsets(file)[l.name]; said > l.EndOffset() || file == startOffsetFile && said > l.StartOffset() {
			t.Errorf("%s says %d; the log is %d to %d", file, said, l.StartOffset(), l.EndOffset())
		}
	}
}

// A log that is empty already forgets its epochs, in the file, too.
func TestResetForgetsEpochs(t *testing.T) {
	crash := disk.NewCrash(0)
	d, l, _ := epochal(t, crash, Options{})
	if _, err := l.DeleteBefore(40); err != nil {
		t.Fatal(err)
	}
	if last, _ := l.LastEpoch(); last != 6 {
		t.Fatalf("last epoch %d", last)
	}
	mustDo(t, l.Reset(40))
	checkWhole(t, l.Log, 40, 40, nil)
	mustDo(t, d.stop())
	l = start(t, crash, Options{}).mustOpen(t, "t-0", fourASegment)
	checkWhole(t, l.Log, 40, 40, nil)
}

// The power goes at each change of a reset: the log is as it was, or empty where it was
// to be.
func TestResetCut(t *testing.T) {
	for _, to := range []int64{3, 40, 90} {
		for k := 0; ; k++ {
			crash := disk.NewCrash(uint64(k))
			d, l, all := epochal(t, crash, Options{})
			mustDo(t, d.checkpoint(true))
			crash.CrashAt(k)
			err := l.Reset(to)
			found := crash.Restart(uint64(to))
			if k%2 == 1 {
				found = crash.Kill()
			}
			next := start(t, found, Options{}).mustOpen(t, "t-0", fourASegment)
			if next.StartOffset() == 0 && err != nil {
				checkWhole(t, next.Log, 0, 40, all)
			} else {
				checkWhole(t, next.Log, to, to, nil)
			}
			checkOffsetsIn(t, next.dir, next.Log)
			if err == nil {
				if k < 20 {
					t.Errorf("a reset made %d changes", k)
				}
				break
			}
		}
	}
}

func TestResetFile(t *testing.T) {
	for _, r := range []reset{{0, 0}, {5, 9}, {7 << 40, 7 << 40}} {
		data := formatReset(r)
		if got, err := parseReset(data); got != r || err != nil {
			t.Errorf("%+v was read as %+v, %v", r, got, err)
		}
		for i := range data {
			odd := bytes.Clone(data)
			odd[i] ^= 4
			if got, err := parseReset(odd); err == nil {
				t.Errorf("%q was read as %+v", odd, got)
			}
		}
	}
	for _, text := range []string{"0\n9 5\n", "0\n-1 5\n", "1\n5 5\n", "0\n5\n", "0\n5 5\n6 6\n"} {
		if got, err := parseReset(sealed([]byte(text), " ")); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}

// A damaged note of a reset is none: the log stays, and the next start says nothing.
func TestResetFileDamaged(t *testing.T) {
	crash := disk.NewCrash(0)
	d, _, all := epochal(t, crash, Options{})
	mustDo(t, d.stop())
	put(t, crash, "data/t-0/"+resetFile, []byte("0\n5 5\nffffffff\n"))
	l := start(t, crash, Options{}).mustOpen(t, "t-0", fourASegment)
	checkWhole(t, l.Log, 0, 40, all)
	if _, err := crash.Stat("data/t-0/" + resetFile); !removed(err) {
		t.Errorf("the note is still there: %v", err)
	}
}
