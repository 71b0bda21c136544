package partition

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"

	"github.com/headwater/headwater/broker/disk"
)

func newIDs(fsys disk.FS) *ProducerIDs {
	return NewProducerIDs(fsys, "/", slog.New(slog.DiscardHandler))
}

// Wherever the power goes, and however often, no id comes twice, and they rise.
func TestProducerIDsAfterCrash(t *testing.T) {
	for k := range 40 {
		fsys, last := disk.NewCrash(uint64(k)), int64(-1)
		for life := range 6 {
			fsys.CrashAt(k % (7 + life))
			ids := newIDs(fsys)
			for range 2*producerIDBlock + 10 {
				id, err := ids.Next(t.Context())
				if err != nil {
					if !errors.Is(err, ErrNoProducerID) || !errors.Is(err, disk.ErrCrashed) {
						t.Fatal(err)
					}
					break
				}
				if id <= last {
					t.Fatalf("crash at %d, life %d: id %d after %d", k, life, id, last)
				}
				last = id
			}
			if life%2 == 0 {
				fsys = fsys.Restart(uint64(life))
			} else {
				fsys = fsys.Kill()
			}
		}
	}
}

// Many ask at the same time.
func TestProducerIDsConcurrently(t *testing.T) {
	ids := newIDs(disk.NewCrash(1))
	var mu sync.Mutex
	seen := map[int64]bool{}
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for range producerIDBlock / 2 {
				id, err := ids.Next(t.Context())
				mu.Lock()
				if err != nil || seen[id] {
					t.Errorf("id %d, %v; seen before: %v", id, err, seen[id])
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	asking.Wait()
}

// A note that cannot be understood leads to ids that nobody had.
func TestProducerIDsDamaged(t *testing.T) {
	for _, text := range []string{"", "{", `{"version":2,"next":5000}`, `{"version":1,"next":-7}`, `{"version":1,"next":9223372036854775808}`} {
		fsys := disk.NewCrash(1)
		f, err := fsys.OpenFile("/"+producerIDsFile, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte(text), 0)
		f.Close()
		id, err := newIDs(fsys).Next(t.Context())
		if err != nil || id < 1<<61 {
			t.Errorf("%q: id %d, %v; want one far off", text, id, err)
		}
		if next, err := newIDs(fsys).Next(t.Context()); err != nil || next <= id {
			t.Errorf("%q, after a restart: id %d, %v; want one above %d", text, next, err, id)
		}
	}
}
