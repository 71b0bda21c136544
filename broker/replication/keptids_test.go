package replication

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/wire"
)

// idFile is a Store in memory.
type idFile struct {
	doc   []byte
	fail  error
	saved int
}

func (f *idFile) Load() ([]byte, error) { return f.doc, nil }

func (f *idFile) Save(doc []byte) error {
	if f.fail == nil {
		f.doc = bytes.Clone(doc)
		f.saved++
	}
	return f.fail
}

func (f *idFile) SetAside() error { return errors.New("not wanted") }

var quiet = slog.New(slog.DiscardHandler)

// giveBlocks answers as a controller whose next block begins at first.
func giveBlocks(first, size int64) func(kmsg.Request, kmsg.Response) bool {
	return func(_ kmsg.Request, resp kmsg.Response) bool {
		out := resp.(*kmsg.AllocateProducerIDsResponse)
		out.ProducerIDStart, out.ProducerIDLen = first, int32(size)
		first += size
		return false
	}
}

// away is a controller that nobody knows.
var away = Controller{Find: func() (string, int64, bool) { return "", -1, false }}

// What is left of a block serves a broker that has crashed and starts without a
// controller, time and again; no id comes twice, and each is gone from the disk before
// it is handed out.
func TestProducerIDsOverCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, seen := &idFile{}, map[int64]bool{}
		take := func(p *ProducerIDs) bool {
			id, err := p.Next(t.Context())
			if err != nil {
				if !errors.Is(err, partition.ErrNoProducerID) {
					t.Error(err)
				}
				return false
			}
			left, err := parseIDBlocks(file.doc)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range left {
				if b.First <= id && id < b.End {
					t.Errorf("id %d is handed out, and the disk has %v", id, left)
				}
			}
			if seen[id] || id < 5000 || id > 5999 {
				t.Errorf("id %d, again %v", id, seen[id])
			}
			seen[id] = true
			return true
		}
		c := newControllers(giveBlocks(5000, 1000))
		p := NewProducerIDs(c.of(), file, quiet)
		defer p.Close()
		take(p)
		starts := 0
		for ; starts < 100 && take(NewProducerIDs(away, file, quiet)); starts++ {
		}
		if starts != 1000/idShare-1 {
			t.Errorf("ids for %d starts without a controller", starts)
		}
		for range idShare - 1 {
			take(p) // what it had goes on
		}
		if len(seen) != starts+idShare {
			t.Errorf("%d ids in all", len(seen))
		}
	})
}

// Nothing is handed out that the disk may still have.
func TestProducerIDsAndAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControllers(giveBlocks(5000, 1000))
		file := &idFile{fail: errors.New("no space left on device")}
		p := NewProducerIDs(c.of(), file, quiet)
		defer p.Close()
		for range 3 {
			if id, err := p.Next(t.Context()); !errors.Is(err, partition.ErrNoProducerID) || !errors.Is(err, file.fail) {
				t.Errorf("got %d, %v", id, err)
			}
		}
		file.fail = nil
		if id, err := p.Next(t.Context()); err != nil || id != 5000 || len(c.asked) != 1 {
			t.Errorf("got %d, %v, after %d requests", id, err, len(c.asked))
		}
	})
}

// A file with a bit turned anywhere, or cut off anywhere, has no ids.
func TestDamagedProducerIDs(t *testing.T) {
	whole := idBlocks{{5000, 5950}, {7000, 8000}}.text()
	if got, err := parseIDBlocks(whole); err != nil || got.count() != 1950 {
		t.Fatalf("%v, %v", got, err)
	}
	var damaged [][]byte
	for i := range whole {
		for bit := range 8 {
			doc := bytes.Clone(whole)
			doc[i] ^= 1 << bit
			damaged = append(damaged, doc)
		}
		damaged = append(damaged, whole[:i])
	}
	for _, blocks := range []idBlocks{{{-5, 10}}, {{10, 10}}, {{10, 5}}, {{10, 20}, {30, 40}, {19, 21}}, make(idBlocks, maxIDBlocks+1)} {
		damaged = append(damaged, blocks.text())
	}
	for _, doc := range damaged {
		var said bytes.Buffer
		file := &idFile{doc: doc}
		p := NewProducerIDs(away, file, slog.New(slog.NewTextHandler(&said, nil)))
		if id, err := p.Next(t.Context()); !errors.Is(err, partition.ErrNoProducerID) {
			t.Errorf("got %d, %v of %s", id, err, doc)
		}
		if !strings.Contains(said.String(), "are damaged") {
			t.Errorf("said %q of %s", &said, doc)
		}
		if err := NewProducerIDs(away, file, quiet).Verify(); err != nil {
			t.Error(err)
		}
		if left, err := parseIDBlocks(file.doc); err != nil || len(left) > 0 {
			t.Errorf("after a repair: %v, %v", left, err)
		}
	}
}

// A broker has ids on disk before anybody asks for one, and gets more while some are
// left; when it cannot, it says so once and tries on.
func TestProducerIDsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControllers(giveBlocks(5000, 1000))
		file := &idFile{}
		var said bytes.Buffer
		p := NewProducerIDs(c.of(), file, slog.New(slog.NewTextHandler(&said, nil)))
		defer p.Close()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		left := func() int64 {
			blocks, err := parseIDBlocks(file.doc)
			if err != nil {
				t.Fatal(err)
			}
			return blocks.count()
		}
		take := func(n int) {
			for range n {
				if _, err := p.Next(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			after(time.Second)
		}
		after(time.Second)
		if left() != 1000 {
			t.Errorf("%d are kept", left())
		}
		if take(500); left() != 500 {
			t.Errorf("%d are kept after 500", left())
		}
		c.with(func() {
			c.answer = func(_ kmsg.Request, resp kmsg.Response) bool {
				resp.(*kmsg.AllocateProducerIDsResponse).ErrorCode = int16(wire.NotController)
				return false
			}
		})
		take(1)
		after(time.Minute)
		if n := strings.Count(said.String(), "no ids for producers to keep"); n != 1 || left() != 450 || len(c.asked) > 20 {
			t.Errorf("said %d times, %d are kept, %d requests", n, left(), len(c.asked))
		}
		c.with(func() { c.answer = giveBlocks(8000, 1000) })
		after(idsPause)
		if left() != 1450 {
			t.Errorf("%d are kept once there is a controller", left())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
