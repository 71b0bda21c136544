package commitlog

import (
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/headwater/headwater/broker/disk"
)

// cleanerFile is Kafka's checkpoint of how far each log was compacted.
const cleanerFile = "cleaner-offset-checkpoint"

// cleanPoints says before which offset each log was compacted. What it does not
// know is compacted again, which changes nothing.
type cleanPoints struct {
	fs   disk.FS
	path string // of the data directory
	read func(name string) map[string]int64
	log  *slog.Logger

	mu      sync.Mutex // guards all below; held across the file's reading and writing
	offsets map[string]int64
}

func newCleanPoints(d *Dir) *cleanPoints {
	return &cleanPoints{fs: d.fs, path: d.path, read: d.loadOffsets, log: d.log}
}

// get returns where a log's compaction has got to, 0 when that is not known.
func (p *cleanPoints) get(name string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load()
	return p.offsets[name]
}

// load reads the file, at its first use. mu is held.
func (p *cleanPoints) load() {
	if p.offsets != nil {
		return
	}
	if p.offsets = p.read(cleanerFile); p.offsets == nil {
		p.offsets = map[string]int64{}
	}
}

// set notes that a log is compacted before offset, durably. The log must not be
// closed meanwhile: it would be taken to be about the next one of its name.
func (p *cleanPoints) set(name string, offset int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load()
	p.offsets[name] = offset
	return p.save()
}

// lower notes, durably, that a log is compacted before offset at most: what comes
// from there on will be another.
func (p *cleanPoints) lower(name string, offset int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load()
	if p.offsets[name] <= offset {
		return nil
	}
	p.offsets[name] = offset
	return p.save()
}

// drop forgets a log that is about to be deleted: another of its name begins anew.
func (p *cleanPoints) drop(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load()
	if _, known := p.offsets[name]; !known {
		return nil
	}
	delete(p.offsets, name)
	return p.save()
}

func (p *cleanPoints) save() error {
	return disk.WriteFile(p.fs, filepath.Join(p.path, cleanerFile), formatOffsets(p.offsets, func(offset int64) int64 { return offset }))
}
