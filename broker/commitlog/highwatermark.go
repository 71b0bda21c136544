package commitlog

import (
	"path/filepath"

	"github.com/headwater/headwater/broker/disk"
)

// SetHighWatermark says up to where the log is known to be on all in-sync replicas.
// From then on checkpoints say so; before, and in a log without replicas, they say as
// far as it is synced. A log that is truncated or reset takes it back with it.
func (l *Log) SetHighWatermark(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.highWatermark = max(offset, 0)
}

// HighWatermark returns the high watermark of a log that the last checkpoint of the
// process before has said, or SetHighWatermark or SaveHighWatermarks since, held
// against the log if that is open. Where Kafka's file is missing, or damaged, nothing is
// known.
func (d *Dir) HighWatermark(name string) (offset int64, known bool) {
	d.mu.Lock()
	offset, known = d.highWatermarks[name]
	l := d.logs[name]
	d.mu.Unlock()
	if l == nil {
		return offset, known
	}
	l.mu.Lock()
	if l.highWatermark >= 0 {
		offset, known = l.highWatermark, true
	}
	l.mu.Unlock()
	return max(min(offset, l.EndOffset()), l.StartOffset()), known
}

// SaveHighWatermarks is SetHighWatermark for those of these logs that are open, and
// puts what is known of all logs on stable storage, in Kafka's file. Of what is not
// synced that says nothing.
func (d *Dir) SaveHighWatermarks(offsets map[string]int64) error {
	for name, offset := range offsets {
		if l := d.find(name); l != nil {
			l.SetHighWatermark(offset)
		}
	}
	d.checkpointMu.Lock()
	defer d.checkpointMu.Unlock()
	marks := d.currentMarks()
	for name := range marks {
		d.listed[name] = true
	}
	return disk.WriteFile(d.fs, filepath.Join(d.path, highWatermarkFile), formatOffsets(marks, func(m mark) int64 { return m.highWatermark }))
}

// writeOffsets replaces a checkpoint in Kafka's format.
func (d *Dir) writeOffsets(file string, offsets map[string]int64) error {
	return disk.WriteFile(d.fs, filepath.Join(d.path, file), formatOffsets(offsets, func(offset int64) int64 { return offset }))
}
