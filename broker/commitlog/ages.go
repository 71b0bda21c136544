package commitlog

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

// agesFile says, in a log's directory, how old the sealed segments are. What is
// known of the active one stands in the data directory's checkpoint.
const agesFile = "headwater.ages"

const (
	maxAgesBytes = 16 << 20 // some 300,000 segments
	agesATime    = 64       // logs whose ages are saved in one round: each costs two syncs
	agesAtStop   = 2 * time.Second
)

// age is what a segment's age is told by: readings of the age clock, 0 for what
// has not been.
type age struct {
	firstAppend time.Duration
	lastAppend  time.Duration
	cleaned     time.Duration // compacted for the first time
}

// formatAges is the contents of headwater.ages. The incarnation is that of the
// data directory, whose clock these are readings of.
func formatAges(incarnation string, ages map[int64]age) []byte {
	out := fmt.Appendf(nil, "0\n%s\n", incarnation)
	for _, baseOffset := range slices.Sorted(maps.Keys(ages)) {
		a := ages[baseOffset]
		out = fmt.Appendf(out, "%d %d %d %d\n", baseOffset, a.firstAppend.Milliseconds(), a.lastAppend.Milliseconds(), a.cleaned.Milliseconds())
	}
	return sealed(out, " ")
}

// parseAges reads what formatAges wrote. Readings of another directory's clock say
// nothing: then there are none.
func parseAges(data []byte, incarnation string) (map[int64]age, error) {
	if !isSealed(data, " ") || !bytes.HasPrefix(data, []byte("0\n")) {
		return nil, fmt.Errorf("%s is damaged", agesFile)
	}
	lines := strings.Split(string(data), "\n")
	if lines[1] != incarnation {
		return nil, nil
	}
	ages := make(map[int64]age, len(lines))
	for _, line := range lines[2 : len(lines)-2] {
		var baseOffset, first, last, cleaned int64
		if _, err := fmt.Sscanf(line, "%d %d %d %d", &baseOffset, &first, &last, &cleaned); err != nil {
			return nil, fmt.Errorf("%s: %.80q: %w", agesFile, line, err)
		}
		ages[baseOffset] = age{readingOf(first), readingOf(last), readingOf(cleaned)}
	}
	if !bytes.Equal(formatAges(incarnation, ages), data) {
		return nil, fmt.Errorf("%s has more in it than is known of", agesFile)
	}
	return ages, nil
}

// readingOf is the reading that a file says in milliseconds.
func readingOf(millis int64) time.Duration {
	return time.Duration(min(max(millis, 0), maxReading.Milliseconds())) * time.Millisecond
}

// by returns a as it can be at now: a reading that is ahead of the clock was lost
// by the clock, and counts from now.
func (a age) by(now time.Duration) age {
	return age{min(a.firstAppend, now), min(a.lastAppend, now), min(a.cleaned, now)}
}

// readAges reads how old the sealed segments of a log are. What cannot be read is
// not known, and no reason not to start.
func (d *Dir) readAges(name string) map[int64]age {
	data, err := disk.ReadFile(d.fs, filepath.Join(d.path, name, agesFile), maxAgesBytes)
	if removed(err) {
		return nil
	}
	ages, parseErr := parseAges(data, d.identity.incarnation)
	if err = cmp.Or(err, parseErr); err != nil {
		d.log.Error("ages of segments not used; they count from now", "log", name, "err", err)
		return nil
	}
	return ages
}

// loadAges gives each segment its age, when the log's end is known. What nothing
// is known of counts from now.
func (l *Log) loadAges(m mark) {
	now, segments := l.dir.clock.now(), l.view.Load().segments
	var saved map[int64]age
	if len(segments) > 1 {
		saved = l.dir.readAges(l.name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range segments {
		a, known := saved[s.baseOffset]
		active := i == len(segments)-1
		switch {
		case s.size.Load() == 0:
			continue
		case !known && m.segment == s.baseOffset && m.firstAppend > 0:
			a = age{firstAppend: m.firstAppend, lastAppend: m.lastAppend}
			if known = active && l.end.Load() <= m.recoveryPoint; !known {
				a.lastAppend = now
			}
		case !known:
			a = age{firstAppend: now, lastAppend: now}
		}
		s.age = a.by(now)
		switch {
		case known:
		case active:
			l.dir.appended.Add(1) // so that a checkpoint says it, and the next start finds the same
		case l.agesDue == 0:
			l.agesDue = now
		}
	}
}

// saveAges puts the readings of the sealed segments on stable storage, and in place
// of their own those of the ones that are about to take their place. It must follow
// a change of them, or of the list. retainMu is held.
func (l *Log) saveAges(coming ...*segment) error {
	return l.saveAgesOf(func(sealed []*segment) []*segment { return append(slices.Clip(sealed), coming...) })
}

// saveAgesOf puts the readings of some segments on stable storage, and no others.
// retainMu is held.
func (l *Log) saveAgesOf(which func(sealed []*segment) []*segment) error {
	l.mu.Lock()
	due, segments := l.agesDue, l.view.Load().segments
	l.agesDue = 0 // what is sealed from here on is due anew
	ages := make(map[int64]age, len(segments))
	for _, s := range which(segments[:len(segments)-1]) {
		ages[s.baseOffset] = s.age
	}
	l.mu.Unlock()
	err := disk.WriteFile(l.fs, filepath.Join(l.path, agesFile), formatAges(l.dir.identity.incarnation, ages))
	if err != nil {
		l.mu.Lock()
		l.agesDue = cmp.Or(due, l.agesDue, l.dir.clock.now())
		l.mu.Unlock()
		return fmt.Errorf("%s: save ages of segments: %w", l.name, err)
	}
	return nil
}

// saveAgesIfDue saves what was sealed since the last save, off the path of
// appends. Without it, a power cut makes those segments younger.
func (l *Log) saveAgesIfDue() error {
	l.retainMu.Lock()
	defer l.retainMu.Unlock()
	if l.agesDueSince() == 0 || l.usable() != nil {
		return nil
	}
	return l.saveAges()
}

// agesDueSince is since when there is something to save, 0 when there is nothing.
func (l *Log) agesDueSince() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.agesDue
}

// saveAges saves the ages of the logs that have waited for it longest.
func (d *Dir) saveAges() {
	type dueLog struct {
		log   *Log
		since time.Duration
	}
	var due []dueLog
	for _, l := range d.openLogs() {
		if since := l.agesDueSince(); since > 0 {
			due = append(due, dueLog{l, since})
		}
	}
	slices.SortStableFunc(due, func(a, b dueLog) int { return cmp.Compare(a.since, b.since) })
	for _, l := range due[:min(len(due), agesATime)] {
		if err := l.log.saveAgesIfDue(); err != nil {
			d.log.Warn("ages of segments not saved", "err", err)
		}
	}
}

// saveAgesBefore saves what is due of a log that is about to be closed, if there
// is time: without it a few segments get younger.
func (d *Dir) saveAgesBefore(deadline time.Time, l *Log) {
	l.retainMu.Lock()
	defer l.retainMu.Unlock()
	if l.agesDueSince() == 0 || l.closed.Load() || l.failure() != nil || time.Now().After(deadline) {
		return
	}
	if err := l.saveAges(); err != nil {
		d.log.Warn("ages of segments not saved", "err", err)
	}
}

// restoreClock reads the age clock. Without its file it goes on from the youngest
// segment that is known, so that none seems to come from the future.
func (d *Dir) restoreClock() error {
	defer d.clock.look()
	if d.clock.load() {
		return nil
	}
	names, err := d.Names()
	if err != nil {
		return err
	}
	youngest := time.Duration(0)
	for _, name := range names {
		for _, a := range d.readAges(name) {
			youngest = max(youngest, a.lastAppend, a.cleaned)
		}
	}
	for _, m := range d.marks {
		youngest = max(youngest, m.lastAppend)
	}
	d.clock.raise(youngest)
	return nil
}
