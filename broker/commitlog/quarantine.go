package commitlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/headwater/headwater/broker/disk"
)

// quarantineDir is where bytes go that were found in a log and are no batch of it,
// in the data directory, a directory for each log. Nothing reads them again; an
// operator may, and may remove them.
const quarantineDir = "quarantine"

// maxQuarantineBytes bounds what is kept of all logs together. Beyond it bad bytes
// are dropped, and that is logged: a card that dies must not fill itself.
const maxQuarantineBytes = 256 << 20

// maxGaps bounds the gaps of one log that are known apart in memory.
const maxGaps = 1024

// offsetGap is a run of offsets that a log should hold and has lost.
type offsetGap struct{ from, to int64 }

func (g offsetGap) noteName() string { return fmt.Sprintf("%d-%d.gap", g.from, g.to) }

// without returns how many offsets of g are in none of the others: a gap that grew
// is found again with what was counted before.
func (g offsetGap) without(others map[offsetGap]struct{}) (offsets int64) {
	known := slices.SortedFunc(maps.Keys(others), func(a, b offsetGap) int { return cmp.Compare(a.from, b.from) })
	at := g.from
	for _, other := range known {
		offsets += max(0, min(other.from, g.to)-at)
		at = min(max(at, other.to), g.to)
	}
	return offsets + g.to - at
}

// quarantine is the quarantine of one log. Its methods may be called from any
// goroutine.
type quarantine struct {
	fs   disk.FS
	root string // of all logs
	log  string // the log's name
}

func (q quarantine) path(name string) string { return filepath.Join(q.root, q.log, name) }

// make makes the log's directory in the quarantine, durably.
func (q quarantine) make() error {
	if _, err := q.fs.Stat(filepath.Join(q.root, q.log)); err == nil {
		return nil
	}
	if err := q.fs.MkdirAll(filepath.Join(q.root, q.log), 0o755); err != nil {
		return err
	}
	if err := q.fs.SyncDir(q.root); err != nil {
		return err
	}
	return q.fs.SyncDir(filepath.Dir(q.root))
}

// keep copies the bytes of r from from to to into a file that is named after the
// segment and the place, and reports whether there was room for them.
func (q quarantine) keep(r io.ReaderAt, baseOffset, from, to int64) (kept bool, err error) {
	if err := q.make(); err != nil {
		return false, err
	}
	used, err := q.bytes()
	if err != nil || used+to-from > maxQuarantineBytes {
		return false, err
	}
	path := q.path(fmt.Sprintf("%0*d%s.%d-%d", baseDigits, baseOffset, logExt, from, to))
	f, err := q.fs.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return false, err
	}
	if _, err = copyRange(f, 0, salvager{r}, from, to); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		q.fs.Remove(path) // a part of it says nothing, and takes room
		return false, err
	}
	return true, q.fs.SyncDir(filepath.Dir(path))
}

// bytes is what the quarantine of all logs takes.
func (q quarantine) bytes() (total int64, err error) {
	logs, err := q.fs.ReadDir(q.root)
	if err != nil {
		return 0, err
	}
	for _, dir := range logs {
		if !dir.IsDir() { // not ours
			continue
		}
		bytes, err := bytesIn(q.fs, filepath.Join(q.root, dir.Name()))
		if err != nil {
			return 0, err
		}
		total += bytes
	}
	return total, nil
}

// note leaves a file that says which offsets are gone, so that the next process
// does not report them again. It reports whether it was there already.
func (q quarantine) note(g offsetGap) (known bool, err error) {
	path := q.path(g.noteName())
	if _, err := q.fs.Stat(path); err == nil {
		return true, nil
	}
	if err := q.make(); err != nil {
		return false, err
	}
	f, err := q.fs.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return false, err
	}
	if err := f.Close(); err != nil {
		return false, err
	}
	return false, q.fs.SyncDir(filepath.Dir(path))
}

// rangeCopier is a file that has a shorter way to take bytes of another, at times.
type rangeCopier interface {
	CopyRange(at int64, r io.ReaderAt, from, to int64) error
}

// copyRange copies bytes of r to w, at at, and returns where they end there.
func copyRange(w io.WriterAt, at int64, r io.ReaderAt, from, to int64) (int64, error) {
	if c, ok := w.(rangeCopier); ok {
		if err := c.CopyRange(at, r, from, to); !errors.Is(err, errors.ErrUnsupported) {
			return at + to - from, err
		}
	}
	buf := make([]byte, min(scanBytes, to-from))
	for from < to {
		chunk := buf[:min(int64(len(buf)), to-from)]
		if n, err := r.ReadAt(chunk, from); n < len(chunk) {
			return at, noEOF(err)
		}
		if _, err := w.WriteAt(chunk, at); err != nil {
			return at, err
		}
		from, at = from+int64(len(chunk)), at+int64(len(chunk))
	}
	return at, nil
}

// reportGap counts and logs offsets that the log has lost, unless that was done
// before, by this process or an earlier one.
func (l *Log) reportGap(g offsetGap) {
	if g.to <= g.from {
		return
	}
	l.mu.Lock()
	_, known := l.gaps[g]
	lost := g.without(l.gaps)
	if !known && len(l.gaps) < maxGaps {
		if l.gaps == nil {
			l.gaps = map[offsetGap]struct{}{}
		}
		l.gaps[g] = struct{}{}
	}
	l.mu.Unlock()
	if known {
		return
	}
	known, err := l.quarantine.note(g)
	if known {
		return
	}
	l.metrics.gaps.Inc()
	l.metrics.gapOffsets.Add(float64(lost))
	l.log.Error("offsets lost", "log", l.name, "fromOffset", g.from, "toOffset", g.to, "noteErr", err)
}

// expectGap notes offsets that are nobody's, so that they are not taken for lost.
func (l *Log) expectGap(g offsetGap) {
	if g.to <= g.from {
		return
	}
	l.mu.Lock()
	if l.gaps == nil {
		l.gaps = map[offsetGap]struct{}{}
	}
	l.gaps[g] = struct{}{}
	l.mu.Unlock()
	if _, err := l.quarantine.note(g); err != nil {
		l.log.Warn("gap not noted; it will count as lost", "log", l.name, "fromOffset", g.from, "toOffset", g.to, "err", err)
	}
}

// forgetGaps forgets what was lost at and behind endOffset: other batches get these
// offsets. A note that stays keeps one loss from being reported, no more.
func (l *Log) forgetGaps(endOffset int64) {
	l.mu.Lock()
	maps.DeleteFunc(l.gaps, func(g offsetGap, _ struct{}) bool { return g.to > endOffset })
	l.mu.Unlock()
	entries, err := l.fs.ReadDir(l.quarantine.path(""))
	if err != nil {
		return
	}
	for _, e := range entries {
		var g offsetGap
		if n, _ := fmt.Sscanf(e.Name(), "%d-%d.gap", &g.from, &g.to); n == 2 && e.Name() == g.noteName() && g.to > endOffset {
			_ = l.fs.Remove(l.quarantine.path(e.Name()))
		}
	}
}
