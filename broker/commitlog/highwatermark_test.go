package commitlog

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/disk"
)

// High watermarks are found again in Kafka's file, however the process ended, and those
// of other logs with them.
func TestHighWatermarks(t *testing.T) {
	for name, end := range ends {
		crash := disk.NewCrash(1)
		d, l, _ := epochal(t, crash, Options{})
		other := d.mustOpen(t, "t-1", keepAll)
		other.mustAppend(t, newBatch(5, 0, 1, 'x'))
		mustDo(t, other.await(5))
		if got, known := d.HighWatermark("t-0"); known {
			t.Errorf("%s: high watermark %d of a new log", name, got)
		}
		mustDo(t, d.SaveHighWatermarks(map[string]int64{"t-0": 30, "t-1": 2, "t-9": 7}))
		if got := string(get(t, crash, "data/"+highWatermarkFile)); got != "0\n2\nt 0 30\nt 1 2\n" {
			t.Errorf("%s: the file is %q", name, got)
		}
		mustDo(t, l.Truncate(21))
		d = start(t, end(t, d, crash), Options{})
		for name, want := range map[string]int64{"t-0": 20, "t-1": 2} {
			if got, known := d.HighWatermark(name); got != want || !known {
				t.Errorf("high watermark of %s is %d, %v, want %d", name, got, known, want)
			}
		}
		if got, known := d.HighWatermark("t-9"); known {
			t.Errorf("%s: high watermark %d of a log that there is not", name, got)
		}
	}
}

// What is not synced is not said, nor what a log does not hold.
func TestHighWatermarkWithinTheLog(t *testing.T) {
	crash := disk.NewCrash(1)
	d, err := OpenDir("data", Options{FS: crash}) // nothing syncs
	mustDo(t, err)
	l, err := d.OpenLog("t-0", topicA, keepAll)
	mustDo(t, err)
	mustDo(t, l.AppendReplica(stamped(9, 0, 0)))
	for _, tc := range []struct{ in, saved, known int64 }{{7, 0, 7}, {99, 0, 9}, {-5, 0, 0}} {
		mustDo(t, d.SaveHighWatermarks(map[string]int64{"t-0": tc.in}))
		got, _ := d.HighWatermark("t-0")
		if saved := d.loadOffsets(highWatermarkFile)["t-0"]; saved != tc.saved || got != tc.known {
			t.Errorf("%d was saved as %d, and is known as %d, want %d and %d", tc.in, saved, got, tc.saved, tc.known)
		}
	}
	mustDo(t, l.Reset(50))
	if got, known := d.HighWatermark("t-0"); got != 50 || !known {
		t.Errorf("a log that was reset to 50 has %d, %v", got, known)
	}
}

// A damaged file says nothing, and that is logged; one of an earlier log of the name is
// no file of the next.
func TestHighWatermarkUnknown(t *testing.T) {
	crash := disk.NewCrash(1)
	d, _, _ := epochal(t, crash, Options{})
	mustDo(t, d.SaveHighWatermarks(map[string]int64{"t-0": 30}))
	mustDo(t, d.stop())
	var log strings.Builder
	whole := get(t, crash, "data/"+highWatermarkFile)
	put(t, crash, "data/"+highWatermarkFile, []byte("0\n1\nt 0 thirty\n"))
	d = start(t, crash, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if got, known := d.HighWatermark("t-0"); known || !strings.Contains(log.String(), `"checkpoint not used" file=`+highWatermarkFile) {
		t.Errorf("a damaged file says %d, %v; log %q", got, known, log.String())
	}
	mustDo(t, d.stop())
	put(t, crash, "data/"+highWatermarkFile, whole)
	d = start(t, crash, Options{})
	mustDo(t, d.DeleteLog("t-0"))
	if got, known := d.HighWatermark("t-0"); known {
		t.Errorf("a deleted log has %d", got)
	}
}
