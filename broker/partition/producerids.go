package partition

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"sync"

	"github.com/headwater/headwater/broker/disk"
)

// ErrNoProducerID is returned when no producer id can be had now: the disk does
// not take the note of it. It may later.
var ErrNoProducerID = errors.New("no producer id can be reserved")

// producerIDBlock is how many producer ids are reserved with one write. What is
// left of a block when the process ends is never used.
const producerIDBlock = 1000

const (
	producerIDsFile    = "headwater.producer-ids.json"
	maxProducerIDsFile = 4 << 10 // bytes, when it is read
)

// ProducerIDs hands out producer ids, each once for as long as the data directory
// lives, and upward.
type ProducerIDs struct {
	fs   disk.FS
	path string
	log  *slog.Logger

	mu       sync.Mutex // guards all below; held while a block is reserved
	next     int64      // the next id; -1 before the file is read
	reserved int64      // ids below it may be handed out
}

// producerIDsDoc is the file. It says more than it must, for who looks.
type producerIDsDoc struct {
	Version int   `json:"version"`
	Next    int64 `json:"next"` // no id from here on was handed out
}

// NewProducerIDs hands out the ids of the data directory dir.
func NewProducerIDs(fsys disk.FS, dir string, log *slog.Logger) *ProducerIDs {
	return &ProducerIDs{fs: fsys, path: filepath.Join(dir, producerIDsFile), log: log, next: -1}
}

// Next returns an id that nobody had before and nobody gets after.
func (p *ProducerIDs) Next(context.Context) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next < 0 {
		p.next = p.load()
		p.reserved = p.next
	}
	if p.next == p.reserved {
		if err := p.reserve(); err != nil {
			return -1, fmt.Errorf("%w: %w", ErrNoProducerID, err)
		}
	}
	id := p.next
	p.next++
	return id, nil
}

// reserve notes that a block more is in use, before any of it is. A write that
// fails may be on the disk all the same, which only leaves ids unused.
func (p *ProducerIDs) reserve() error {
	if p.reserved > math.MaxInt64-producerIDBlock {
		return errors.New("all are used")
	}
	doc, err := json.Marshal(producerIDsDoc{Version: 1, Next: p.reserved + producerIDBlock})
	if err != nil {
		return err
	}
	if err := disk.WriteFile(p.fs, p.path, append(doc, '\n')); err != nil {
		return err
	}
	p.reserved += producerIDBlock
	return nil
}

// load returns the first id that was not reserved. A file that cannot be read or
// understood must not stop producers, nor let an id come again: then ids go on
// from a place so far off, and so random, that none was there.
func (p *ProducerIDs) load() int64 {
	next, err := p.read()
	if err == nil {
		return next
	}
	var random [8]byte
	rand.Read(random[:]) // never fails
	first := int64(binary.BigEndian.Uint64(random[:])>>2 | 1<<61)
	p.log.Error("the note of producer ids is damaged; they go on from a random one", "file", p.path, "first", first, "err", err)
	return first
}

// read returns what the file says; 0 when there is none.
func (p *ProducerIDs) read() (next int64, err error) {
	var doc producerIDsDoc
	text, err := disk.ReadFile(p.fs, p.path, maxProducerIDsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err == nil && (doc.Version != 1 || doc.Next <= 0) {
		err = fmt.Errorf("version %d, next %d", doc.Version, doc.Next)
	}
	return doc.Next, err
}

// Verify does what the first producer would have done about a damaged file, and
// logs it. No id is handed out.
func (p *ProducerIDs) Verify() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.read(); err == nil {
		return nil
	}
	p.reserved = p.load()
	return p.reserve()
}
