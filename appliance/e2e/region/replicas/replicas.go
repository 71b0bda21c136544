// Package replicas compares the copies of a partition on the disks of brokers that have
// stopped, byte for byte below the high watermark. Kafka and headwater have one layout.
//
// The package reads files and starts no goroutines. Offsets are Kafka's.
package replicas

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/headwater/headwater/broker/record"
)

// Batch is one record batch of a log, by the sum of its bytes as they stand there, base
// offset and leader epoch too.
type Batch struct {
	Base, Next int64 // offsets
	Epoch      int32
	Sum        [sha256.Size]byte
}

// Log is one copy of a partition.
type Log struct {
	Batches []Batch
	segment int64 // the base offset of the last segment
}

// End is the offset after the last record.
func (l *Log) End() int64 {
	if len(l.Batches) == 0 {
		return l.segment
	}
	return max(l.segment, l.Batches[len(l.Batches)-1].Next)
}

// Read reads the log of a partition, "readings-3" say, from a log directory. A torn or
// corrupt batch is an error: a broker that stopped in good order leaves none.
func Read(dir fs.FS, partition string) (*Log, error) {
	segments, err := fs.Glob(dir, path.Join(partition, "*.log"))
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 {
		return nil, fmt.Errorf("%s: %w", partition, fs.ErrNotExist)
	}
	slices.Sort(segments) // their names are base offsets with leading zeros
	l := &Log{}
	for _, name := range segments {
		if l.segment, err = strconv.ParseInt(strings.TrimSuffix(path.Base(name), ".log"), 10, 64); err != nil {
			return nil, fmt.Errorf("%s is no segment: %w", name, err)
		}
		rest, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		for len(rest) > 0 {
			var b record.Batch
			if b, rest, err = record.Next(rest); err != nil {
				if zeros(rest) {
					break // a segment's file may be longer than its log
				}
				return nil, fmt.Errorf("%s behind offset %d: %w", name, l.End(), err)
			}
			l.Batches = append(l.Batches, Batch{b.BaseOffset(), b.NextOffset(), b.LeaderEpoch(), sha256.Sum256(b)})
		}
	}
	return l, nil
}

func zeros(b []byte) bool { return !slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) }

// Difference finds where two logs differ, from where both have begun to end. An end that
// one of them does not reach is a difference too. It returns "" if there is none.
func Difference(a, b *Log, end int64) string {
	from := int64(0)
	for _, l := range []*Log{a, b} {
		if len(l.Batches) > 0 {
			from = max(from, l.Batches[0].Base)
		}
	}
	x, y := between(a.Batches, from, end), between(b.Batches, from, end)
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("at offset %d: offsets %d to %d, epoch %d, sum %x against %d to %d, epoch %d, sum %x",
				x[i].Base, x[i].Base, x[i].Next, x[i].Epoch, x[i].Sum[:4], y[i].Base, y[i].Next, y[i].Epoch, y[i].Sum[:4])
		}
	}
	if len(x) != len(y) || a.End() < end || b.End() < end {
		return fmt.Sprintf("one ends at %d, the other at %d, below %d they have %d and %d batches", a.End(), b.End(), end, len(x), len(y))
	}
	return ""
}

// between are the batches with an offset from the one on and below the other.
func between(batches []Batch, from, end int64) []Batch {
	lo := slices.IndexFunc(batches, func(b Batch) bool { return b.Next > from })
	if lo < 0 {
		return nil
	}
	batches = batches[lo:]
	if hi := slices.IndexFunc(batches, func(b Batch) bool { return b.Base >= end }); hi >= 0 {
		batches = batches[:hi]
	}
	return batches
}

// HighWatermarks reads the checkpoint of a log directory, by partition.
func HighWatermarks(dir fs.FS) (map[string]int64, error) {
	file, err := dir.Open("replication-offset-checkpoint")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	marks := map[string]int64{}
	lines := bufio.NewScanner(file)
	for n := 0; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if n < 2 && len(fields) == 1 { // the version, and how many there are
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("replication-offset-checkpoint: line %d is %q", n+1, lines.Text())
		}
		offset, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("replication-offset-checkpoint: %w", err)
		}
		marks[fields[0]+"-"+fields[1]] = offset
	}
	return marks, lines.Err()
}
