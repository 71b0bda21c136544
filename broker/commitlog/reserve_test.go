package commitlog

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/headwater/headwater/broker/disk"
)

// fullUntil is a disk on which writes find no space while the file .reserve is
// there, or full is set.
type fullUntil struct {
	*faulty
	full atomic.Bool // the reserve is of no help
	shut atomic.Bool // the reserve is
}

func newFullUntil() *fullUntil {
	d := &fullUntil{faulty: &faulty{FS: disk.NewCrash(0)}}
	check := func(name string) error {
		_, err := d.Stat(filepath.Join("data", reserveFile))
		if d.full.Load() || d.shut.Load() && (err == nil || strings.HasSuffix(name, reserveFile)) {
			return errNoSpace
		}
		return nil
	}
	d.onOpen = check
	d.onWrite = func(name string, _ []byte) (int, error) { return 0, check(name) }
	return d
}

// On a full disk the reserve goes for what must be written; batches do not get it,
// and are taken again once it could be made again.
func TestReserve(t *testing.T) {
	fsys := newFullUntil()
	d := start(t, fsys, Options{Reserve: 5000})
	l := d.mustOpen(t, "t-0", keeps)
	d.Tidy()
	size := func() int64 {
		info, err := fsys.Stat(filepath.Join("data", reserveFile))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	if size() != 5000 {
		t.Fatalf("a reserve of %d bytes, want 5000", size())
	}
	l.mustAppend(t, newBatch(1, 0, 400, 'x'))

	fsys.shut.Store(true)
	if _, err := l.Append(newBatch(1, 0, 400, 'x'), 1); !errors.Is(err, ErrFull) || size() != 5000 {
		t.Fatalf("a batch on a full disk: %v, want ErrFull, and the reserve untouched, not %d bytes", err, size())
	}
	if err := disk.WriteFile(d.FS(), filepath.Join("data", "list"), []byte("topics")); err != nil || size() != 0 {
		t.Fatalf("what must be written: %v, with %d bytes of the reserve left", err, size())
	}
	for range 3 {
		if _, err := l.Append(newBatch(1, 0, 400, 'x'), 1); !errors.Is(err, ErrFull) {
			t.Fatalf("a batch without a reserve: %v, want ErrFull", err)
		}
		d.Tidy()
	}
	everything(t, l.Log)
	fsys.shut.Store(false)
	l.mustAppend(t, newBatch(1, 0, 400, 'x'))
	if size() != 5000 {
		t.Errorf("with room again the reserve has %d bytes, want 5000", size())
	}
}

// The reserve is whole whatever its size, and takes little memory to make.
func TestReserveIsWrittenInPieces(t *testing.T) {
	for _, size := range []int64{1, reservePiece - 1, reservePiece, reservePiece + 1, 3 * reservePiece} {
		fsys := newFullUntil()
		longest, written := 0, int64(0)
		fsys.onWrite = func(name string, p []byte) (int, error) {
			if strings.HasSuffix(name, reserveFile) {
				longest, written = max(longest, len(p)), written+int64(len(p))
			}
			return len(p), nil
		}
		if !newReserveFS(fsys, ".", size, slog.New(slog.DiscardHandler)).keep() {
			t.Fatalf("a reserve of %d bytes is not made", size)
		}
		info, err := fsys.Stat(reserveFile)
		if err != nil || info.Size() != size || written != size || longest > reservePiece {
			t.Errorf("a reserve of %d bytes: %v, %v; %d bytes were written, at most %d at a time", size, info, err, written, longest)
		}
	}
}

// What an append must write beside its batch, a leader epoch here, may have the
// reserve; the batch then waits for there to be one again.
func TestReserveIsNotForBatches(t *testing.T) {
	fsys := newFullUntil()
	d := start(t, fsys, Options{Reserve: 5000})
	l := d.mustOpen(t, "t-0", keeps)
	d.Tidy()
	l.mustAppend(t, newBatch(1, 0, 400, 'x'))
	fsys.shut.Store(true)
	if _, err := l.Append(newBatch(1, 0, 400, 'x'), 2); !errors.Is(err, ErrFull) || l.EndOffset() != 1 {
		t.Fatalf("the first batch of an epoch on a full disk: %v, and the log ends at %d; want ErrFull, and 1", err, l.EndOffset())
	}
	fsys.shut.Store(false)
	if at, err := l.Append(newBatch(1, 0, 400, 'x'), 2); at != 1 || err != nil {
		t.Errorf("with room again: offset %d, %v, want 1", at, err)
	}
	everything(t, l.Log)
}

// A data directory opens on a full disk, with a reserve and without.
func TestStartOnFullDisk(t *testing.T) {
	fsys := newFullUntil()
	d := must(run(fsys, "data", Options{Reserve: 5000}))
	l := d.mustOpen(t, "t-0", drops)
	for range 5 {
		l.mustAppend(t, newBatch(1, 0, 400, 'x'))
	}
	d.Tidy()
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	for _, set := range []func(){func() { fsys.shut.Store(true) }, func() { fsys.full.Store(true) }} {
		fsys.full.Store(false)
		set()
		fsys.onOpen = nil // for reading there is always room
		d = must(run(fsys, "data", Options{Reserve: 5000}))
		if l := d.mustOpen(t, "t-0", drops); l.EndOffset() != 5 {
			t.Errorf("the log ends at %d, want 5", l.EndOffset())
		} else {
			everything(t, l.Log)
		}
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}
}

// The reserve waits until there is room for it and some more.
func TestReserveLeavesRoom(t *testing.T) {
	for free, want := range map[int64]bool{5000: false, 6249: false, 6250: true} {
		d, err := OpenDir("data", Options{FS: roomy{disk.NewCrash(0), free}, Reserve: 5000})
		if err != nil {
			t.Fatal(err)
		}
		d.Tidy()
		if got := d.reserve.whole(); got != want {
			t.Errorf("with %d bytes free it is made: %v, want %v", free, got, want)
		}
		d.Close()
	}
}
