package partition

import (
	"io"
	"log/slog"
	"testing"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/topic"
)

// BenchmarkAppend is what this room adds to the append of a small batch, on a disk
// that costs little: an append, and a wait that is over at once.
func BenchmarkAppend(b *testing.B) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir, err := commitlog.OpenDir(b.TempDir(), commitlog.Options{FS: disk.OS{}, Policy: commitlog.OS, Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	set := NewSet(dir, false, quiet)
	if _, err := set.Open("press", 0, topic.NewID(), topic.Settings{SegmentBytes: 1 << 20, RetentionBytes: 4 << 20, Retention: topic.Forever}); err != nil {
		b.Fatal(err)
	}
	set.Lead("press", 0, 1)
	p, err := set.Get("press", 0)
	if err != nil {
		b.Fatal(err)
	}
	batch := batch(1, 0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, nextOffset, err := p.Append(batch)
		if err != nil {
			b.Fatal(err)
		}
		p.Await(nextOffset, func(error) {})
		if i%10000 == 0 {
			p.retain(quiet)
		}
	}
}
