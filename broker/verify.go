package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/region"
	"github.com/headwater/headwater/broker/replication"
	"github.com/headwater/headwater/broker/topic"
)

// A look through a data directory is a start of the broker, without a listener,
// and a reading of all that there is, on a file system that changes nothing: what
// a start and its readers would do is what is reported. A repair is the same on the
// machine's. So the two cannot differ.

// maxVerifyBytes bounds what is kept in memory of what would be written: most of
// it is index files, of one partition at a time.
const maxVerifyBytes = 128 << 20

// ErrNoData is returned by Verify for a directory that holds no data of a broker.
var ErrNoData = errors.New("not a data directory")

// Finding is something that is wrong in a data directory, and what a start or its
// readers do about it.
type Finding struct {
	Partition string         // "sensors-7"; "" for the data directory's own
	File      string         // in the directory of the partition, where it is about one
	Kind      string         // one word or two that never change
	Wrong     string         // what is wrong
	Remedy    string         // what is done about it
	Details   map[string]any // offsets and places, by the names of the log line
}

// VerifyOptions says what Verify looks at, and whom it tells.
type VerifyOptions struct {
	DataDir  string
	FS       disk.FS // nil is the machine's, where the directory is locked
	BrokerID int32
	Repair   bool // does what is reported

	Found    func(Finding)                // each finding, as it comes
	Note     func(partition, text string) // what is worth knowing and not wrong
	Progress func(doneBytes, total int64) // of the segments; total is for one look
}

// VerifySummary is what a Verify came to.
type VerifySummary struct {
	Partitions int
	Bytes      int64 // of segments
	Findings   int
	Repaired   bool // a repair was made
	Left       int  // findings after it
}

// Verify looks through a data directory that no broker uses, and repairs it if
// that is wanted and there is something to repair. Without Repair nothing is
// written. Its errors are about the directory as a whole: disk.ErrLocked,
// ErrNoData, or what would keep a broker from starting.
func Verify(ctx context.Context, o VerifyOptions) (sum VerifySummary, err error) {
	unlock, err := o.lock()
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if sum.Bytes, err = commitlog.LogBytes(o.FS, o.DataDir); err != nil {
		return sum, err
	}
	if sum.Findings, sum.Partitions, err = o.look(ctx, sum.Bytes, o.Found, o.Note); err != nil {
		return sum, err
	}
	if !o.Repair || sum.Findings == 0 {
		return sum, nil
	}
	if err := o.repair(ctx, sum.Bytes); err != nil {
		return sum, fmt.Errorf("repair: %w", err)
	}
	sum.Repaired = true
	left := func(f Finding) {
		f.Wrong = "still: " + f.Wrong
		o.Found(f)
	}
	sum.Left, _, err = o.look(ctx, sum.Bytes, left, func(string, string) {})
	return sum, err
}

// lock keeps brokers out of the directory, if it is on the machine's file system.
func (o *VerifyOptions) lock() (unlock func() error, err error) {
	onDisk := o.FS == nil
	if onDisk {
		o.FS = disk.OS{}
	}
	if data, err := commitlog.IsData(o.FS, o.DataDir); err != nil {
		return nil, err
	} else if !data {
		return nil, fmt.Errorf("%s: %w", o.DataDir, ErrNoData)
	}
	if !onDisk {
		return func() error { return nil }, nil
	}
	how := disk.LockToRead
	if o.Repair {
		how = disk.Lock
	}
	held, err := how(o.DataDir)
	if err != nil {
		return nil, err
	}
	return held.Close, nil
}

// look reports what a start and its readers would do, and does nothing.
func (o *VerifyOptions) look(ctx context.Context, total int64, found func(Finding), note func(partition, text string)) (findings, partitions int, err error) {
	snapshots := map[string]bool{}       // that were told of
	unidentified := map[string]Finding{} // that the list of topics may know
	count := func(f Finding) {
		switch f.Kind {
		case kindUnidentified:
			unidentified[f.Partition] = f
			return
		case kindSnapshot:
			snapshots[filepath.Join(f.Partition, f.File)] = true
		}
		findings++
		found(f)
	}
	var ofPartitions []Finding // of files that are written anew if the partition is identified
	err = commitlog.CheckFiles(o.FS, o.DataDir, func(r commitlog.FileReport) {
		f := Finding{Partition: r.Log, File: r.Name, Kind: "file", Wrong: r.Wrong, Remedy: r.Remedy}
		switch {
		case r.Wrong == "":
			note(r.Log, r.Name+": "+r.Note)
		case r.Log != "":
			ofPartitions = append(ofPartitions, f)
		default:
			count(f)
		}
	})
	if err != nil {
		return findings, 0, err
	}
	quarantined := filepath.Join(o.DataDir, "quarantine")
	dry := disk.NewDry(o.FS, maxVerifyBytes, func(name string) bool { return strings.HasPrefix(name, quarantined) })
	partitions, err = o.run(ctx, dry, slog.New(verifyHandler{new(sync.Mutex), count}), total, func(name string) {
		dry.Forget(filepath.Join(o.DataDir, name))
		delete(unidentified, name)
	})
	if err != nil {
		return findings, partitions, err
	}
	for _, f := range ofPartitions {
		if _, lost := unidentified[f.Partition]; !lost {
			count(f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unidentified)) {
		findings++
		found(unidentified[name])
	}
	for _, name := range dry.Removed() {
		if f, tell := removedFile(o.DataDir, name); tell && !snapshots[filepath.Join(f.Partition, f.File)] {
			count(f)
		}
	}
	return findings, partitions, nil
}

// repair does what look reports. What could not be done is told by the next look,
// and why by a note.
func (o *VerifyOptions) repair(ctx context.Context, total int64) error {
	// The directory is locked: the log must not try to lock it once more.
	_, err := o.run(ctx, struct{ disk.FS }{o.FS}, slog.New(failureHandler{new(sync.Mutex), o.Note}), total, func(string) {})
	return err
}

// run starts the broker's data directory, reads all of it, and stops.
func (o *VerifyOptions) run(ctx context.Context, fsys disk.FS, log *slog.Logger, total int64, done func(partition string)) (count int, err error) {
	dir, partitions, err := o.open(fsys, log)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	read := int64(0)
	for _, p := range partitions.All() {
		err := p.Verify(ctx, func(bytes int64) {
			read += bytes
			o.Progress(read, total)
		})
		switch {
		case ctx.Err() != nil:
			return count, ctx.Err()
		case err != nil: // of this one; the others may be well
			log.Error("partition not read", "partition", p.Name(), "err", err)
		}
		done(p.Name())
		count++
	}
	return count, errors.Join(
		partition.NewProducerIDs(dir.FS(), dir.Path(), log).Verify(),
		replication.NewProducerIDs(replication.Controller{}, newIDStore(dir.FS(), dir.Path()), log).Verify(),
	)
}

// open starts what a broker starts of its data directory.
func (o *VerifyOptions) open(fsys disk.FS, log *slog.Logger) (dir *commitlog.Dir, partitions *partition.Set, err error) {
	store := newRegionStore(fsys, o.DataDir)
	joined, err := store.exists()
	if err != nil {
		return nil, nil, err
	}
	brokerID := o.BrokerID
	if joined {
		brokerID = commitlog.AnyBroker
	}
	dir, err = commitlog.OpenDir(o.DataDir, commitlog.Options{FS: fsys, BrokerID: brokerID, Log: log})
	if err != nil {
		return nil, nil, err
	}
	partitions = partition.NewSet(dir, false, log)
	if joined {
		err = openJoined(store, dir, partitions, log)
	} else {
		err = o.openAlone(dir, partitions, log)
	}
	if err != nil {
		return nil, nil, errors.Join(err, dir.Close())
	}
	return dir, partitions, nil
}

func (o *VerifyOptions) openAlone(dir *commitlog.Dir, partitions *partition.Set, log *slog.Logger) error {
	return cluster.NewSolo(cluster.SoloConfig{
		ClusterID: dir.ClusterID(), Self: cluster.Broker{ID: o.BrokerID}, Defaults: topic.Defaults(),
		DefaultPartitions: 1, MaxPartitions: math.MaxInt,
	}, newFileStore(dir.FS(), dir.Path()), host{partitions}, log).Start()
}

// openJoined opens what a broker of a region has on disk, also what the region has
// ordered nothing about. Nothing is led: that would begin a leader epoch which no
// controller knows.
func openJoined(store fileStore, dir *commitlog.Dir, partitions *partition.Set, log *slog.Logger) error {
	id, _, err := region.Stored(store, dir)
	if err != nil {
		return err
	}
	cfg := region.Config{Self: cluster.Broker{ID: id}, Defaults: topic.Defaults()}
	looking := lookingHost{host{partitions}}
	if err := region.New(cfg, store, looking, dir, nil, log).Start(); err != nil {
		return err
	}
	hosted, err := looking.Hosted()
	if err != nil {
		return err
	}
	for _, h := range hosted {
		if _, err := partitions.Get(h.Topic, h.Index); !errors.Is(err, partition.ErrUnknown) {
			continue
		}
		if _, err := partitions.Open(h.Topic, h.Index, h.ID, topic.Defaults()); err != nil {
			log.Error("partition not opened; it is offline", "partition", fmt.Sprintf("%s-%d", h.Topic, h.Index), "err", err)
		}
	}
	return nil
}

// lookingHost is a region.Host whose partitions have no role.
type lookingHost struct{ host }

// Apply, and the others, implement region.Host.
func (lookingHost) Apply(region.Order, cluster.Broker) error { return nil }
func (lookingHost) Follow(region.Order, cluster.Broker)      {}
func (lookingHost) Throttle(int64, bool)                     {}
func (lookingHost) TopicDeleted(string)                      {}
func (lookingHost) Stop(string, int32) error                 { return nil }
func (h lookingHost) TopicID(name string, index int32) (topic.ID, bool) {
	return h.TopicIDOf(name, index)
}
