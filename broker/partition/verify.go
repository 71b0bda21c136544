package partition

import (
	"context"
	"fmt"
	"slices"
)

// Verify reads all of the partition, and does what a start and its readers would
// do about damage that is found, as commitlog's Log.Verify has it. A snapshot of
// producers that is damaged goes, if it has not gone at the start: a newer one is
// good then. Nobody else may use the partition meanwhile.
func (p *Partition) Verify(ctx context.Context, progress func(bytes int64)) error {
	if err := p.log.Verify(ctx, progress); err != nil {
		return err
	}
	if err := p.producers.verify(); err != nil {
		return fmt.Errorf("%s: snapshots of producers: %w", p.name, err)
	}
	return nil
}

// Name is the partition's as its directory has it: "sensors-7".
func (p *Partition) Name() string { return p.name }

func (s *producers) verify() error {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.mu.Lock()
	known := slices.Clone(s.snapshots)
	s.mu.Unlock()
	var bad []int64
	for _, at := range known {
		if _, err := s.read(at); err != nil {
			s.logger.Error("snapshot of producers is damaged", "partition", s.name, "file", s.file(at), "err", err)
			bad = append(bad, at)
		}
	}
	return s.remove(bad)
}
