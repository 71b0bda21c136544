package commitlog

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// The files of a segment, as Kafka names them.
const (
	logExt       = ".log"
	indexExt     = ".index"
	timeIndexExt = ".timeindex"
)

// baseDigits is how many digits a base offset has in a file name.
const baseDigits = 20

// segment is a run of a log's batches. The last of a log is active and grows; the
// others are sealed: synced, and never changed, but replaced by a repair or by
// compaction. Where offsets were lost, one does not begin where the one before it
// ends.
type segment struct {
	dir        string // of the log
	baseOffset int64
	size       atomic.Int64          // bytes that readers may see
	index      atomic.Pointer[index] // of the active segment; nil once sealed

	spoiled  atomic.Bool // there are bad bytes in it that could not be taken out
	swapping atomic.Bool // it is compacted, and its file has not its name yet

	age       // guarded by Log.mu
	gone bool // guarded by files.mu: removed, or of a closed log

	checkMu sync.Mutex // held while the index files are looked through or built
	checked indexState // guarded by checkMu
}

// indexState is what we know of the index files of a sealed segment.
type indexState uint8

const (
	unchecked indexState = iota
	good
	useless // and could not be replaced: look things up by walking
)

func newSegment(dir string, baseOffset int64) *segment {
	return &segment{dir: dir, baseOffset: baseOffset}
}

func (s *segment) path(ext string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%0*d%s", baseDigits, s.baseOffset, ext))
}

// parseSegmentName returns the base offset in a file's name.
func parseSegmentName(name string) (baseOffset int64, ext string, ok bool) {
	stem, ext, found := strings.Cut(name, ".")
	if !found || len(stem) != baseDigits {
		return 0, "", false
	}
	baseOffset, err := strconv.ParseInt(stem, 10, 64)
	return baseOffset, "." + ext, err == nil && baseOffset >= 0
}

// view is the list of a log's segments, oldest first, the active one last. It
// never changes; a new list takes its place.
type view struct{ segments []*segment }

// startOffset is where the first segment begins. The log may start in it, or later.
func (v *view) startOffset() int64 { return v.segments[0].baseOffset }

func (v *view) active() *segment { return v.segments[len(v.segments)-1] }

// endOf returns where the i-th segment must end: noEnd for the active one.
func (v *view) endOf(i int) int64 {
	if i == len(v.segments)-1 {
		return noEnd
	}
	return v.segments[i+1].baseOffset
}

// find returns which segment holds offset, which is not before the first.
func (v *view) find(offset int64) int {
	i := len(v.segments) - 1
	for i > 0 && v.segments[i].baseOffset > offset { // most readers are near the end
		i--
	}
	return i
}
