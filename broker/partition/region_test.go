package partition

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// region is three brokers, each with a replica of press-0, and what the controller
// has decided about it. Followers fetch when the test says so.
type region struct {
	hubs     map[int32]*hub // those that are up
	disks    map[int32]*disk.Crash
	dead     map[int32]bool // as the controller says
	settings topic.Settings
	full     int32 // the broker whose disk has no room for batches
	Order
}

// roomFS is a disk that takes no batches while its broker's is said to be full.
type roomFS struct {
	disk.FS
	full func() bool
}

func (s roomFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return roomFile{f, s.full}, nil
}

type roomFile struct {
	disk.File
	full func() bool
}

func (f roomFile) WriteAt(p []byte, off int64) (int, error) {
	if f.full() {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(p, off)
}

// hub is one of its brokers, from a start to an end.
type hub struct {
	*Set
	p   *Partition
	end func()
}

func newRegion(t *testing.T, settings topic.Settings) *region {
	t.Helper()
	r := &region{hubs: map[int32]*hub{}, disks: map[int32]*disk.Crash{}, dead: map[int32]bool{}, settings: settings}
	r.Replicas, r.Leader, r.LeaderEpoch = []int32{1, 2, 3}, -1, -1
	for _, id := range r.Replicas {
		r.disks[id] = disk.NewCrash(uint64(id))
		r.start(t, id)
	}
	t.Cleanup(func() {
		for _, h := range r.hubs {
			h.end()
		}
	})
	r.elect(t, 1, 1, 2, 3)
	return r
}

func minISR(n int) topic.Settings {
	s := topic.Defaults()
	s.MinISR = n
	return s
}

// start starts a broker. If its disk gives up, it is not there.
func (r *region) start(t *testing.T, id int32) bool {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir, err := commitlog.OpenDir("/data", commitlog.Options{FS: roomFS{r.disks[id], func() bool { return r.full == id }}, BrokerID: id, Log: quiet})
	if err != nil {
		return false
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { dir.Run(ctx) })
	h := &hub{Set: NewSet(dir, false, quiet)}
	h.end = func() {
		cancel()
		running.Wait()
		dir.Close()
	}
	h.SetLive(func(id int32) bool { return !r.dead[id] })
	if _, err = h.Open("press", 0, pressID, r.settings); err == nil {
		h.p, err = h.Get("press", 0)
	}
	if err != nil {
		h.end()
		return false
	}
	r.hubs[id] = h
	return true
}

// stop ends a broker: its process, or its power.
func (r *region) stop(id int32, powerCut bool, seed uint64) {
	next := r.disks[id].Kill
	if powerCut {
		next = func() *disk.Crash { return r.disks[id].Restart(seed) }
	}
	r.disks[id] = next()
	if h := r.hubs[id]; h != nil {
		h.end()
		delete(r.hubs, id)
	}
}

// elect decides, and tells all that are up.
func (r *region) elect(t *testing.T, leader int32, isr ...int32) {
	t.Helper()
	r.Leader, r.ISR, r.LeaderEpoch, r.PartitionEpoch = leader, isr, r.LeaderEpoch+1, r.PartitionEpoch+1
	for id := range r.hubs {
		r.tell(t, id)
	}
}

func (r *region) tell(t *testing.T, id int32) {
	t.Helper()
	if _, err := r.hubs[id].Apply("press", 0, id, r.Order); err != nil && !r.disks[id].Crashed() {
		t.Fatal(err)
	}
}

func (r *region) leader() *Partition { return r.hubs[r.Leader].p }

// fetch is one fetch of a follower's, from whom it takes for the leader.
func (r *region) fetch(t *testing.T, id int32) (err error) {
	t.Helper()
	p := r.hubs[id].p
	from, epoch, _ := p.Role()
	if r.hubs[from] == nil {
		return ErrNotLeader
	}
	leader := r.hubs[from].p
	end, lastEpoch, start := p.Position()
	if err := await(p.Await, end); err != nil {
		return err
	}
	f, diverging, err := leader.ReadReplica(ReplicaFetch{
		Replica: id, BrokerEpoch: -1, CurrentLeaderEpoch: epoch,
		Offset: end, LastFetchedEpoch: lastEpoch, LogStartOffset: start, MaxBytes: 300, AtLeastOne: true,
	})
	defer f.Records.Release()
	switch {
	case errors.Is(err, commitlog.ErrOffsetOutOfRange):
		return p.OutOfRange(epoch, leader.State().LogStartOffset, leader.State().LogEndOffset)
	case err != nil:
		return err
	case diverging != nil:
		return p.Diverged(epoch, *diverging)
	}
	return p.AppendFetched(epoch, f.Records.Bytes, f.HighWatermark, f.LogStartOffset)
}

// catchUp lets followers fetch until they have what the leader has, and it knows.
func (r *region) catchUp(t *testing.T, ids ...int32) {
	t.Helper()
	if err := await(r.leader().Await, r.leader().State().LogEndOffset); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		for tries := 0; ; tries++ {
			was := r.hubs[id].p.State()
			if err := r.fetch(t, id); err != nil {
				t.Fatal(err)
			}
			if was.LogEndOffset == r.leader().State().LogEndOffset && r.hubs[id].p.State().LogEndOffset == was.LogEndOffset {
				break
			}
			if tries > 100 {
				t.Fatalf("broker %d does not catch up: it ends at %d, the leader at %d", id, was.LogEndOffset, r.leader().State().LogEndOffset)
			}
		}
	}
}

// await waits on Await or AwaitAll.
func await(wait func(int64, func(error)), nextOffset int64) error {
	told := make(chan error, 1)
	wait(nextOffset, func(err error) { told <- err })
	return <-told
}

// waiting is what AwaitAll has told so far, if anything.
func waiting(p *Partition, nextOffset int64) <-chan error {
	told := make(chan error, 1)
	p.AwaitAll(nextOffset, func(err error) { told <- err })
	return told
}

func wantOffsets(t *testing.T, who string, p *Partition, logEnd, highWatermark int64) {
	t.Helper()
	if s := p.State(); s.LogEndOffset != logEnd || s.HighWatermark != highWatermark {
		t.Errorf("%s: log end %d, high watermark %d; want %d, %d", who, s.LogEndOffset, s.HighWatermark, logEnd, highWatermark)
	}
}

// bytesOf is all that the log holds.
func bytesOf(t *testing.T, p *Partition, endOffset int64) []byte {
	t.Helper()
	b, err := p.log.Read(p.log.StartOffset(), endOffset, 1<<30, true)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustAppend(t *testing.T, p *Partition, b record.Batch) (nextOffset int64) {
	t.Helper()
	_, nextOffset, err := p.AppendAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return nextOffset
}
