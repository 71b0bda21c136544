package commitlog

import (
	"bytes"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/headwater/headwater/broker/disk"
)

// counting counts what is read of segments, and the syncs.
type counting struct {
	disk.FS
	read, syncs atomic.Int64
}

func (c *counting) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil || filepath.Ext(name) != logExt {
		return f, err
	}
	return &countingFile{f, c}, nil
}

type countingFile struct {
	disk.File
	c *counting
}

func (f *countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.c.read.Add(int64(n))
	return n, err
}

func (f *countingFile) Sync() error { f.c.syncs.Add(1); return f.File.Sync() }

// A start reads what came after the last checkpoint, however long the log is, and
// nothing after a clean stop. What it did not look at is found all the same.
func TestStartReadsTail(t *testing.T) {
	const tail = 5
	one := int64(len(newBatch(1, 0, 400, 'a')))
	for _, batches := range []int{10, 100, 1000} {
		for _, clean := range []bool{true, false} {
			crash := disk.NewCrash(0)
			d := must(run(crash, "data", Options{}))
			l := d.mustOpen(t, "t-0", keepAll)
			for i := range batches + tail {
				if i == batches {
					if err := l.await(l.EndOffset()); err != nil {
						t.Fatal(err)
					}
					if err := d.checkpoint(false); err != nil {
						t.Fatal(err)
					}
				}
				l.mustAppend(t, newBatch(1, int64(100*i), 400, byte('a'+i%26)))
			}
			if err := l.await(l.EndOffset()); err != nil {
				t.Fatal(err)
			}
			all := everything(t, l.Log)
			if clean {
				if err := d.stop(); err != nil {
					t.Fatal(err)
				}
			}
			crash = crash.Kill()
			d.stop()
			fsys := &counting{FS: crash}
			d = start(t, fsys, Options{})
			l = d.mustOpen(t, "t-0", keepAll)
			read, syncs, want := fsys.read.Load(), fsys.syncs.Load(), int64(0)
			if !clean {
				want = 64 + tail*one
			}
			if read > want || (syncs > 0) == clean {
				t.Errorf("%d batches, clean stop %v: a start read %d bytes, want %d; %d syncs", batches, clean, read, want, syncs)
			}
			if got := everything(t, l.Log); !bytes.Equal(got, all) {
				t.Errorf("%d batches: read %d bytes, want %d", batches, len(got), len(all))
			}
			for offset := range l.EndOffset() {
				checkFind(t, l.Log, offset, 100*offset)
			}
			if fsys.read.Store(0); batches == 1000 {
				checkFind(t, l.Log, 500, 50_000)
				if read := fsys.read.Load(); read > 40<<10 {
					t.Errorf("finding one batch read %d bytes: there is no index", read)
				}
			}
			d.stop()
		}
	}
}

// What a checkpoint says is held against the log. Where they differ the log is
// read, and offsets that were synced once are not given again.
func TestCheckpointDiffers(t *testing.T) {
	for name, tc := range map[string]struct {
		do  func(t *testing.T, fsys disk.FS)
		end int64
	}{
		"damaged": {func(t *testing.T, fsys disk.FS) { flipInPlace(t, fsys, "data/"+checkpointFile, 40) }, 20},
		"missing": {func(t *testing.T, fsys disk.FS) { mustDo(t, fsys.Remove("data/"+checkpointFile)) }, 20},
		"cut": {func(t *testing.T, fsys disk.FS) {
			put(t, fsys, firstFile, get(t, fsys, firstFile)[:1000])
		}, 20},
		"gone":  {func(t *testing.T, fsys disk.FS) { mustDo(t, fsys.Remove(firstFile)) }, 20},
		"other": {func(t *testing.T, fsys disk.FS) { b := newBatch(3, 0, 9, 'x'); put(t, fsys, firstFile, b) }, 20},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, _, all := rolled(t, keepAll, 20)
			tc.do(t, fsys)
			for range 2 {
				d := start(t, fsys, Options{})
				l := d.mustOpen(t, "t-0", keepAll)
				if l.EndOffset() != tc.end || l.DurableEnd() != tc.end {
					t.Fatalf("log ends at %d, durable to %d, want %d", l.EndOffset(), l.DurableEnd(), tc.end)
				}
				if name == "other" {
					return
				}
				if _, runs := lost(t, l.Log, all); (runs == 1) != (name == "cut" || name == "gone") {
					t.Errorf("%d gaps", runs)
				}
				d.stop()
			}
		})
	}
}

// The files in Kafka's format are Kafka's.
func TestKafkaCheckpoints(t *testing.T) {
	fsys := disk.NewCrash(0)
	d := start(t, fsys, Options{})
	for _, name := range []string{"b-1", "a.x-10", "a.x-2"} {
		l := d.mustOpen(t, name, keepAll)
		l.mustAppend(t, newBatch(4, 0, 10, 'a'))
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		recoveryPointFile: "0\n3\na.x 10 4\na.x 2 4\nb 1 4\n",
		highWatermarkFile: "0\n3\na.x 10 4\na.x 2 4\nb 1 4\n",
		startOffsetFile:   "0\n3\na.x 10 0\na.x 2 0\nb 1 0\n",
		cleanShutdownFile: `{"version":0,"brokerEpoch":-1}`,
	} {
		if got := string(get(t, fsys, "data/"+file)); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	marks, err := parseMarks(get(t, fsys, "data/"+checkpointFile))
	if err != nil || len(marks) != 3 || !maps.Equal(marks, must(parseMarks(formatMarks(marks)))) {
		t.Errorf("marks %v, %v", marks, err)
	}
	d = start(t, fsys, Options{})
	if _, err := fsys.Stat("data/" + cleanShutdownFile); err == nil || !d.cleanStart {
		t.Errorf("after the start: the marker is there: %v, and was seen: %v", err == nil, d.cleanStart)
	}
}

func TestParseOffsets(t *testing.T) {
	for data, ok := range map[string]bool{
		"0\n0\n": true, "0\n1\na 0 5\n": true, "0\n2\na 0 5\nb 1 6\n": true, "0\n1\na 0 5": true,
		"": false, "0\n": false, "1\n0\n": false, "0\n1\n": false, "0\n2\na 0 5\n": false, "0\n1\na 0\n": false,
		"0\n1\na 0 -5\n": false, "0\n1\na x 5\n": false, "0\n1\na/b 0 5\n": false, "0\n1\na 0 5 6\n": false,
	} {
		if _, err := parseOffsets([]byte(data)); (err == nil) != ok {
			t.Errorf("%s: %v", strings.ReplaceAll(data, "\n", "|"), err)
		}
	}
}

func mustDo(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
