package disk

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
)

// Whatever is done to it, a Dry shows what the file system below would hold, had it
// been done there, and that one stays as it is.
func TestDryShowsChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"d/a", "d/b", "d/c"}
	for range 300 {
		below, twin := NewCrash(0), NewCrash(0)
		for _, fsys := range []FS{below, twin} {
			if err := errors.Join(fsys.MkdirAll("d", 0o755), WriteFile(fsys, "d/a", bytes.Repeat([]byte("a"), 100))); err != nil {
				t.Fatal(err)
			}
		}
		before := below.Ops()
		dry := NewDry(below, 1<<20, func(string) bool { return false })
		for range 1 + rng.IntN(20) {
			name, other, at, size := names[rng.IntN(3)], names[rng.IntN(3)], rng.Int64N(150), rng.IntN(60)
			mark, do := byte(rng.Int()), rng.IntN(5)
			for _, fsys := range []FS{dry, twin} {
				alter(fsys, do, name, other, at, bytes.Repeat([]byte{mark}, size))
			}
		}
		for _, name := range names {
			want, wantErr := ReadFile(twin, name, 1<<20)
			got, err := ReadFile(dry, name, 1<<20)
			if !bytes.Equal(got, want) || errors.Is(err, fs.ErrNotExist) != errors.Is(wantErr, fs.ErrNotExist) {
				t.Fatalf("%s: %q, %v, want %q, %v", name, got, err, want, wantErr)
			}
		}
		if got, want := listed(t, dry), listed(t, twin); !slices.Equal(got, want) {
			t.Fatalf("lists %q, want %q", got, want)
		}
		if below.Ops() != before {
			t.Fatalf("%d changes below", below.Ops()-before)
		}
	}
}

// alter does one thing to a file; what cannot be done is not.
func alter(fsys FS, do int, name, other string, at int64, data []byte) {
	switch do {
	case 0:
		fsys.Remove(name)
		return
	case 1:
		fsys.Rename(name, other)
		return
	}
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	switch do {
	case 2:
		f.WriteAt(data, at)
	case 3:
		f.Truncate(at)
	case 4:
		src, err := fsys.OpenFile(other, os.O_RDONLY, 0)
		if err != nil || name == other {
			return
		}
		defer src.Close()
		size, _ := src.Size()
		if c, ok := f.(*dryFile); ok {
			if err := c.CopyRange(at, src, 0, size); err != nil {
				panic(err)
			}
			return
		}
		all := make([]byte, size)
		src.ReadAt(all, 0)
		f.WriteAt(all, at)
	}
}

func listed(t *testing.T, fsys FS) (names []string) {
	t.Helper()
	entries, err := fsys.ReadDir("d")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name(), string(rune('0'+info.Size())))
	}
	return names
}

// A Dry is full when it would keep more in memory than it may. What is copied
// within it, forgotten, or of no content takes nothing.
func TestDryIsBounded(t *testing.T) {
	below := NewCrash(0)
	large := bytes.Repeat([]byte("x"), 5000)
	if err := errors.Join(below.MkdirAll("d", 0o755), WriteFile(below, "a", large)); err != nil {
		t.Fatal(err)
	}
	dry := NewDry(below, 1000, func(name string) bool { return name == "blank" })
	blank := must(dry.OpenFile("blank", os.O_WRONLY|os.O_CREATE, 0o644))
	if n, err := blank.WriteAt(large, 0); n != len(large) || err != nil || must(dry.Stat("blank")).Size() != 5000 {
		t.Errorf("wrote %d bytes of no content, %v", n, err)
	}
	a, b := must(dry.OpenFile("a", os.O_RDONLY, 0)), must(dry.OpenFile("b", os.O_RDWR|os.O_CREATE, 0o644))
	if err := b.(*dryFile).CopyRange(0, a, 1, 4001); err != nil || must(b.Size()) != 4000 {
		t.Errorf("copied %d bytes, %v", must(b.Size()), err)
	}
	c := must(dry.OpenFile("d/c", os.O_RDWR|os.O_CREATE, 0o644))
	if _, err := c.WriteAt(large[:900], 0); err != nil {
		t.Error(err)
	}
	if _, err := c.WriteAt(large[:200], 900); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("1100 bytes in 1000: %v", err)
	}
	dry.Forget("d")
	if _, err := c.WriteAt(large[:200], 900); err != nil {
		t.Error(err)
	}
}

// What was there and is gone is told, with what is in it.
func TestDryRemoved(t *testing.T) {
	below := NewCrash(0)
	for _, name := range []string{"old/f", "f", "g", "h"} {
		if err := errors.Join(below.MkdirAll("old", 0o755), WriteFile(below, name, []byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	dry := NewDry(below, 1000, func(string) bool { return false })
	err := errors.Join(
		dry.Remove("old/f"), dry.Rename("old", "grave"), dry.RemoveAll("grave"), dry.Remove("f"), dry.Rename("g", "h"),
		dry.Remove("h"), WriteFile(dry, "h", []byte("y")))
	if got := dry.Removed(); err != nil || !slices.Equal(got, []string{"f", "g", "old"}) {
		t.Errorf("removed %q, %v", got, err)
	}
}
