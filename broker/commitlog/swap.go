package commitlog

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/headwater/headwater/broker/disk"
)

// A compacted segment takes the place of those it was made of in steps, and a
// power cut between any two of them loses nothing:
//
//  1. its file is written beside theirs, as ".log.cleaned", and synced; and its age
//     is saved as that of the first of them, which it makes younger: by that one's
//     age it would go before the records of the others had their time;
//  2. it is renamed to ".log.swap", durably. From here on it counts;
//  3. their files go, but for the log that has its name, durably;
//  4. it is renamed to ".log", durably.
//
// A start removes a ".cleaned", and goes on from step 3 with a ".swap". The names
// are Kafka's, whose start does the same. Which segments a swap takes the place of
// is told by its last batch: compaction keeps the last one of what it merges,
// without records if need be.
const (
	cleanedExt = ".cleaned"
	swapExt    = ".swap"
)

// createCleaned makes the file of a compacted segment. It holds a lock with which
// the log cannot be closed: afterwards its directory may be another log's.
func (l *Log) createCleaned(s *segment) (disk.File, error) {
	l.retainMu.Lock()
	defer l.retainMu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	return l.fs.OpenFile(s.path(logExt)+cleanedExt, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
}

// dropCleaned removes the file of a compacted segment that is not wanted. If that
// fails, the next start does.
func (l *Log) dropCleaned(s *segment) {
	l.retainMu.Lock()
	defer l.retainMu.Unlock()
	if !l.closed.Load() {
		_ = l.fs.Remove(s.path(logExt) + cleanedExt)
	}
}

// replace puts next, whose file was written by createCleaned and synced, into the
// place of old: sealed segments, one after the other, of which the first has its
// base offset. It reports false, and does nothing, when retention or a repair has
// changed them meanwhile, or when the log was truncated since cuts were counted: then
// a record may have been left out for the sake of one that is gone. An error of the
// disk after step 2 takes the log off line; the next start goes on from there.
func (l *Log) replace(old []*segment, next *segment, cuts int64) (replaced bool, err error) {
	l.retainMu.Lock()
	defer l.retainMu.Unlock()
	if err := l.usable(); err != nil {
		return false, err
	}
	if l.cuts.Load() != cuts {
		return false, nil
	}
	if at := slices.Index(l.view.Load().segments, old[0]); at < 0 || !holdsAt(l.view.Load().segments, at, old) {
		return false, nil
	}
	if err := l.saveAges(next); err != nil {
		return false, err
	}
	path := next.path(logExt)
	if err := l.fs.Rename(path+cleanedExt, path+swapExt); err != nil {
		return false, fmt.Errorf("%s: segment %d: %w", l.name, next.baseOffset, err)
	}
	if err := l.fs.SyncDir(l.path); err != nil {
		return false, l.fail("compact", err)
	}
	l.show(old, next)
	var replacedBases []int64
	for _, s := range old[1:] {
		replacedBases = append(replacedBases, s.baseOffset)
	}
	if err := l.settle(next.baseOffset, replacedBases, func() { next.swapping.Store(false) }); err != nil {
		return false, l.fail("compact", err)
	}
	l.sealCompacted(next)
	return true, nil
}

// holdsAt reports whether all has these segments from at on, and more behind them.
func holdsAt(all []*segment, at int, these []*segment) bool {
	return at+len(these) < len(all) && slices.Equal(all[at:at+len(these)], these)
}

// show lets readers have next in place of old, whose open files stay for those who
// have them. next answers from memory what its index files will.
func (l *Log) show(old []*segment, next *segment) {
	next.swapping.Store(true)
	freed := -next.size.Load()
	l.mu.Lock()
	segments := slices.Clone(l.view.Load().segments) // an append may have rolled
	at := slices.Index(segments, old[0])
	l.view.Store(&view{slices.Replace(segments, at, at+len(old), next)})
	l.mu.Unlock()
	for _, s := range old {
		freed += s.size.Load()
		l.files.forget(s, true)
	}
	l.budget.used.Add(-freed)
}

// open opens a file of s. A compacted segment's has not its name yet
// before step 4; when it has not the other one either, it got it just now.
func (s *segment) open(fsys disk.FS, ext string, flag int) (disk.File, error) {
	if ext == logExt && s.swapping.Load() {
		if f, err := fsys.OpenFile(s.path(ext)+swapExt, flag, 0); !removed(err) {
			return f, err
		}
	}
	return fsys.OpenFile(s.path(ext), flag, 0)
}

// settle is the steps 3 and 4 for the swap at baseOffset, which takes the place of
// the segments at replaced, too. renamed is called once the file has its name.
// retainMu is held, or nobody knows the log yet.
func (l *Log) settle(baseOffset int64, replaced []int64, renamed func()) error {
	first := newSegment(l.path, baseOffset)
	gone := []string{first.path(indexExt), first.path(timeIndexExt)} // their positions are the old file's
	for _, base := range replaced {
		s := newSegment(l.path, base)
		gone = append(gone, s.path(logExt), s.path(indexExt), s.path(timeIndexExt))
	}
	for _, path := range gone {
		if err := l.fs.Remove(path); err != nil && !removed(err) {
			return err
		}
	}
	if err := l.fs.SyncDir(l.path); err != nil {
		return err
	}
	if err := l.fs.Rename(first.path(logExt)+swapExt, first.path(logExt)); err != nil {
		return err
	}
	renamed()
	return l.fs.SyncDir(l.path)
}

// sealCompacted writes the index files of a segment that has taken its place. One
// without them gets them when they are asked for.
func (l *Log) sealCompacted(s *segment) {
	err := l.writeIndexes(s, true)
	if err != nil {
		l.log.Warn("index of a compacted segment not written", "log", l.name, "segment", s.baseOffset, "err", err)
	} else {
		s.checked = good // nobody looks while the index is in memory
	}
	s.index.Store(nil)
}

// finishSwaps does what is left of a compaction that was cut short, and reports
// whether that changed what is in the log's directory, of which these are the
// entries.
func (l *Log) finishSwaps(entries []fs.DirEntry) (changed bool, err error) {
	for _, e := range entries {
		stem, found := strings.CutSuffix(e.Name(), swapExt)
		baseOffset, ext, ok := parseSegmentName(stem)
		if !found || !ok || ext != logExt {
			continue
		}
		changed = true
		if err := l.finishSwap(baseOffset, entries); err != nil {
			return true, fmt.Errorf("finish the compaction of segment %d: %w", baseOffset, err)
		}
	}
	return changed, nil
}

func (l *Log) finishSwap(baseOffset int64, entries []fs.DirEntry) error {
	// Its name may be in the machine's memory only, if it was the process that ended.
	if err := l.fs.SyncDir(l.path); err != nil {
		return err
	}
	endOffset, err := l.swapEnd(baseOffset)
	if err != nil {
		return err
	}
	var replaced []int64
	for _, e := range entries {
		base, ext, ok := parseSegmentName(e.Name())
		if ok && ext == logExt && base > baseOffset && base < endOffset {
			replaced = append(replaced, base)
		}
	}
	if err := l.settle(baseOffset, replaced, func() {}); err != nil {
		return err
	}
	l.log.Info("compaction that was cut short is finished", "log", l.name, "segment", baseOffset, "endOffset", endOffset)
	return nil
}

// swapEnd reads a swap through, and returns the offset that follows its last whole
// batch. If it is damaged by now, the segments behind that batch stay.
func (l *Log) swapEnd(baseOffset int64) (endOffset int64, err error) {
	file, err := l.fs.OpenFile(newSegment(l.path, baseOffset).path(logExt)+swapExt, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return 0, err
	}
	_, endOffset, err = scan(file, size, baseOffset, newIndex(baseOffset))
	return endOffset, err
}
