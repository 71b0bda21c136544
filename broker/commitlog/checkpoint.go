package commitlog

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

// Files of the data directory that say where the logs stand. Ours is one, so that
// what it says of a log was true at one moment; Kafka's are for its tools, and for
// when ours cannot be read.
const (
	checkpointFile    = "headwater.checkpoint"
	recoveryPointFile = "recovery-point-offset-checkpoint"
	startOffsetFile   = "log-start-offset-checkpoint"
	highWatermarkFile = "replication-offset-checkpoint"
	cleanShutdownFile = ".kafka_cleanshutdown"
)

const (
	maxCheckpointBytes = 64 << 20 // far more than 100,000 logs need
	checkpointTick     = time.Second
	checkpointEvery    = 5 * time.Second  // while something is appended
	checkpointEveryOS  = 30 * time.Second // under OS, where it has to sync first
	checkpointAfter    = 32 << 20         // bytes appended, which a start would have to read
	kafkaEvery         = 60 * time.Second // the files in Kafka's format, as Kafka does
)

// mark is where a log stands: what a start after a crash need not look at.
type mark struct {
	topicID       string
	segment       int64 // base offset of the active segment
	last          int64 // where its last synced batch begins; -1 when there is none
	position      int64 // where that ends
	recoveryPoint int64 // the offset that follows it
	startOffset   int64
	highWatermark int64
	firstAppend   time.Duration // to the active segment, by the age clock; 0 before it
	lastAppend    time.Duration
}

// formatMarks is the contents of headwater.checkpoint.
func formatMarks(marks map[string]mark) []byte {
	out := fmt.Appendf(nil, "0\n%d\n", len(marks))
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		m := marks[name]
		out = fmt.Appendf(out, "%s %s %d %d %d %d %d %d %d %d\n", name, m.topicID, m.segment, m.last, m.position, m.recoveryPoint, m.startOffset, m.highWatermark,
			m.firstAppend.Milliseconds(), m.lastAppend.Milliseconds())
	}
	return sealed(out, " ")
}

// parseMarks reads what formatMarks wrote. Only whole is it worth anything.
func parseMarks(data []byte) (map[string]mark, error) {
	if !isSealed(data, " ") || !bytes.HasPrefix(data, []byte("0\n")) {
		return nil, fmt.Errorf("%s is damaged", checkpointFile)
	}
	lines := strings.Split(string(data), "\n")
	marks := make(map[string]mark, len(lines))
	for _, line := range lines[2 : len(lines)-2] {
		name, m, err := parseMark(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %.80q: %w", checkpointFile, line, err)
		}
		marks[name] = m
	}
	return marks, nil
}

// parseMark reads a line of formatMarks.
func parseMark(line string) (name string, m mark, err error) {
	var first, last int64
	numbers := []*int64{&m.segment, &m.last, &m.position, &m.recoveryPoint, &m.startOffset, &m.highWatermark, &first, &last}
	f := strings.Fields(line)
	if len(f) != 2+len(numbers) {
		return "", m, fmt.Errorf("%d fields", len(f))
	}
	m.topicID = strings.Clone(f[1]) // not the whole file for it
	for i, number := range numbers {
		if *number, err = strconv.ParseInt(f[2+i], 10, 64); err != nil {
			return "", m, err
		}
	}
	m.firstAppend, m.lastAppend = readingOf(first), readingOf(last)
	return strings.Clone(f[0]), m, nil
}

// formatOffsets is a checkpoint as Kafka writes it: a version, a count, and a
// topic, a partition and an offset in each line.
func formatOffsets[T any](logs map[string]T, offset func(T) int64) []byte {
	out := fmt.Appendf(nil, "0\n%d\n", len(logs))
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		dash := strings.LastIndexByte(name, '-')
		out = fmt.Appendf(out, "%s %s %d\n", name[:dash], name[dash+1:], offset(logs[name]))
	}
	return out
}

// parseOffsets reads what formatOffsets or Kafka wrote.
func parseOffsets(data []byte) (map[string]int64, error) {
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) < 2 || lines[0] != "0" || lines[1] != strconv.Itoa(len(lines)-2) {
		return nil, fmt.Errorf("not a checkpoint of version 0 with as many lines as it says")
	}
	offsets := make(map[string]int64, len(lines)-2)
	for _, line := range lines[2:] {
		f := strings.Fields(line)
		if len(f) != 3 || checkName(f[0]+"-"+f[1]) != nil {
			return nil, fmt.Errorf("checkpoint: %.80q", line)
		}
		offset, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil || offset < 0 {
			return nil, fmt.Errorf("checkpoint: %.80q", line)
		}
		offsets[f[0]+"-"+f[1]] = offset
	}
	return offsets, nil
}

// loadCheckpoint reads where the logs stood, and takes the mark of a clean stop
// away, before anything can be appended. SyncDir must follow.
func (d *Dir) loadCheckpoint() error {
	d.marks = map[string]mark{}
	data, err := disk.ReadFile(d.fs, filepath.Join(d.path, checkpointFile), maxCheckpointBytes)
	if err == nil {
		var marks map[string]mark
		if marks, err = parseMarks(data); err == nil {
			d.marks = marks
		}
	}
	if err != nil {
		if !removed(err) {
			d.log.Error("checkpoint not used; more of the logs is read", "err", err)
		}
		d.startOffsets = d.loadOffsets(startOffsetFile) // it has no checksum: a flipped bit would move a start
		maps.DeleteFunc(d.startOffsets, func(_ string, offset int64) bool { return offset == 0 })
	}
	d.highWatermarks = d.loadOffsets(highWatermarkFile)
	for _, offsets := range []map[string]int64{d.highWatermarks, d.listedIn(recoveryPointFile), d.listedIn(startOffsetFile)} {
		for name := range offsets {
			d.listed[name] = true
		}
	}
	marker := filepath.Join(d.path, cleanShutdownFile)
	_, err = d.fs.Stat(marker)
	if d.cleanStart = err == nil; d.cleanStart {
		return d.fs.Remove(marker)
	}
	if removed(err) {
		return nil
	}
	return err
}

// loadOffsets reads a checkpoint of Kafka's. One that is damaged is of no use, and
// no reason not to start.
func (d *Dir) loadOffsets(name string) map[string]int64 {
	offsets, err := d.readOffsets(name)
	if err != nil && !removed(err) {
		d.log.Error("checkpoint not used", "file", name, "err", err)
	}
	return offsets
}

// listedIn is loadOffsets for a file of which only the names count: one that cannot
// be read says nothing of any log.
func (d *Dir) listedIn(name string) map[string]int64 {
	offsets, _ := d.readOffsets(name)
	return offsets
}

func (d *Dir) readOffsets(name string) (map[string]int64, error) {
	data, err := disk.ReadFile(d.fs, filepath.Join(d.path, name), maxCheckpointBytes)
	if err != nil {
		return nil, err
	}
	return parseOffsets(data)
}

// checkpoint writes where the logs stand, with kafka also in Kafka's files.
func (d *Dir) checkpoint(kafka bool) error {
	d.checkpointMu.Lock()
	defer d.checkpointMu.Unlock()
	return d.writeCheckpoint(kafka)
}

// currentMarks is where the logs stand, those that are not open as they did.
func (d *Dir) currentMarks() map[string]mark {
	logs := d.openLogs()
	d.mu.Lock()
	marks := maps.Clone(d.marks)
	d.mu.Unlock()
	for _, l := range logs {
		marks[l.name] = l.mark()
	}
	return marks
}

// writeCheckpoint is checkpoint for who holds checkpointMu.
func (d *Dir) writeCheckpoint(kafka bool) error {
	d.appended.Store(0)
	marks := d.currentMarks()
	if err := disk.WriteFile(d.fs, filepath.Join(d.path, checkpointFile), formatMarks(marks)); err != nil || !kafka {
		return err
	}
	for name := range marks {
		d.listed[name] = true // in one of the files at least, if it ends here
	}
	for _, f := range []struct { // in an order that keeps start <= high watermark, wherever it ends
		name   string
		offset func(mark) int64
	}{
		{recoveryPointFile, func(m mark) int64 { return m.recoveryPoint }},
		{highWatermarkFile, func(m mark) int64 { return m.highWatermark }},
		{startOffsetFile, func(m mark) int64 { return m.startOffset }},
	} {
		if err := disk.WriteFile(d.fs, filepath.Join(d.path, f.name), formatOffsets(marks, f.offset)); err != nil {
			return err
		}
	}
	maps.DeleteFunc(d.listed, func(name string, _ bool) bool { _, ok := marks[name]; return !ok })
	return nil
}

// unlist takes what Kafka's files say of an earlier log of that name out of them,
// before there is a log that it would be taken to be about: they know no topic ids.
// admin is held.
func (d *Dir) unlist(name string) error {
	d.mu.Lock()
	delete(d.startOffsets, name)
	delete(d.highWatermarks, name)
	delete(d.marks, name)
	d.mu.Unlock()
	d.checkpointMu.Lock()
	listed := d.listed[name]
	d.checkpointMu.Unlock()
	if !listed {
		return nil
	}
	return d.checkpoint(true)
}

// checkpointUntil writes checkpoints while something is appended.
func (d *Dir) checkpointUntil(ctx context.Context) {
	every := checkpointEvery
	if d.committer.policy == OS {
		every = checkpointEveryOS
	}
	ticker := time.NewTicker(checkpointTick)
	defer ticker.Stop()
	last, lastKafka := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		bytes, now := d.appended.Load(), time.Now()
		if bytes == 0 || bytes < checkpointAfter && now.Sub(last) < every {
			continue
		}
		if d.committer.policy == OS {
			d.syncAll()
		}
		kafka := now.Sub(lastKafka) >= kafkaEvery
		if err := d.checkpoint(kafka); err != nil {
			d.log.Warn("checkpoint not written", "err", err)
		}
		if last = now; kafka {
			lastKafka = now
		}
	}
}

// syncAll syncs every log, for a checkpoint under a policy that does not.
func (d *Dir) syncAll() {
	for _, l := range d.openLogs() {
		_ = l.Flush() // a log that fails says so itself
	}
}

// point is a place in the active segment between two batches.
type point struct {
	segment  int64 // its base offset
	last     int64 // where the batch before it begins; -1 when there is none
	position int64
	offset   int64
}

func (l *Log) setSynced(p point) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced = p
}

// mark is where l stands, for a checkpoint.
func (l *Log) mark() mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.synced
	l.saidDurable = max(l.saidDurable, p.offset)
	start := min(max(l.StartOffset(), l.startOffset), p.offset)
	highWatermark := p.offset
	if l.highWatermark >= 0 {
		highWatermark = max(min(l.highWatermark, p.offset), start)
	}
	m := mark{
		topicID: l.topicID, segment: p.segment, last: p.last, position: p.position, recoveryPoint: p.offset,
		startOffset: start, highWatermark: highWatermark,
	}
	for _, s := range slices.Backward(l.view.Load().segments) { // the active one, but for a log about to be truncated
		if s.baseOffset == p.segment {
			m.firstAppend, m.lastAppend = s.firstAppend, s.lastAppend
			break
		}
	}
	return m
}

// holds reports whether the active segment still has what m says: then what is
// before m.position was synced, and need not be read. It reads one header, and
// none after a clean stop.
func (m mark) holds(s *segment, file disk.File, size int64, clean bool) bool {
	switch {
	case m.segment != s.baseOffset || size < m.position || m.recoveryPoint < s.baseOffset:
		return false
	case clean && size == m.position:
		return true
	case m.position == 0:
		return m.recoveryPoint == s.baseOffset
	}
	w := window{r: file, size: size, buf: make([]byte, 64)}
	h, n, err := w.header(max(m.last, 0), s.baseOffset)
	return err == nil && m.last+n == m.position && h.NextOffset() == m.recoveryPoint
}

// finishClean leaves the marker of a clean stop, if it is one: every log was
// closed well, or not opened since the last one.
func (d *Dir) finishClean() error {
	if !d.cleanStart {
		names, err := d.Names()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(names, func(name string) bool { return !d.wasClosedWell(name) }) {
			return nil
		}
	}
	return disk.WriteFile(d.fs, filepath.Join(d.path, cleanShutdownFile), []byte(`{"version":0,"brokerEpoch":-1}`))
}
