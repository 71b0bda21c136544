package disk

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// both runs a test on the machine's file system, on the one in memory, and on one
// that leaves another as it is, in a directory of its own.
func both(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("OS", func(t *testing.T) { test(t, OS{}, t.TempDir()) })
	t.Run("Crash", func(t *testing.T) { test(t, NewCrash(0), ".") })
	t.Run("Dry", func(t *testing.T) {
		below := NewCrash(0)
		test(t, NewDry(below, 1<<20, func(string) bool { return false }), ".")
		if below.Ops() != 0 {
			t.Errorf("%d changes below", below.Ops())
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What the rooms above rely on is the same on both.
func TestFS(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		at := func(name string) string { return filepath.Join(dir, name) }
		if _, err := fsys.OpenFile(at("f"), os.O_RDWR, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open a missing file: %v", err)
		}
		f := must(fsys.OpenFile(at("f"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644))
		if _, err := fsys.OpenFile(at("f"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); !errors.Is(err, fs.ErrExist) {
			t.Errorf("create it twice: %v", err)
		}
		must(f.WriteAt([]byte("hello"), 3))
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 20)
		if n, err := f.ReadAt(buf, 1); n != 7 || err != io.EOF || string(buf[:n]) != "\x00\x00hello" {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		if n, err := f.ReadAt(buf, 8); n != 0 || err != io.EOF {
			t.Errorf("read %d bytes at the end, %v", n, err)
		}
		if err := errors.Join(f.Truncate(4), f.Truncate(6)); err != nil || must(f.Size()) != 6 {
			t.Errorf("size %d, %v", must(f.Size()), err)
		}
		if n, _ := f.ReadAt(buf, 0); string(buf[:n]) != "\x00\x00\x00h\x00\x00" {
			t.Errorf("read %q after cutting and lengthening", buf[:n])
		}
		reader := must(fsys.OpenFile(at("f"), os.O_RDONLY, 0))
		if _, err := reader.WriteAt([]byte("x"), 0); err == nil {
			t.Error("wrote to a file that is open for reading")
		}
		must(fsys.OpenFile(at("f"), os.O_RDWR|os.O_TRUNC, 0)).Close()
		if must(reader.Size()) != 0 {
			t.Errorf("size %d after O_TRUNC", must(reader.Size()))
		}
		if err := errors.Join(f.Close(), fsys.Remove(at("f"))); err != nil {
			t.Error(err)
		}
		if _, err := f.ReadAt(buf, 0); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("read of a closed file: %v", err)
		}
		if _, err := reader.Size(); err != nil {
			t.Errorf("a removed file that is open: %v", err)
		}
	})
}

func TestFSDirs(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		at := func(name string) string { return filepath.Join(dir, name) }
		if err := errors.Join(fsys.MkdirAll(at("a/b"), 0o755), fsys.MkdirAll(at("a/b"), 0o755)); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"a/2", "a/1", "a/b/3"} {
			if err := WriteFile(fsys, at(name), []byte(name)); err != nil {
				t.Error(err)
			}
		}
		if err := fsys.Remove(at("a/b")); err == nil {
			t.Error("removed a directory that is not empty")
		}
		if err := errors.Join(fsys.Rename(at("a/1"), at("a/2")), fsys.SyncDir(at("a"))); err != nil {
			t.Error(err)
		}
		var names []string
		for _, e := range must(fsys.ReadDir(at("a"))) {
			names = append(names, e.Name())
		}
		if len(names) != 2 || names[0] != "2" || names[1] != "b" {
			t.Errorf("entries %q, want 2 and b", names)
		}
		if info := must(fsys.Stat(at("a/2"))); info.Size() != 3 || info.IsDir() || string(must(ReadFile(fsys, at("a/2"), 3))) != "a/1" {
			t.Errorf("after a rename: %+v", info)
		}
		if _, err := ReadFile(fsys, at("a/2"), 2); err == nil {
			t.Error("read a file that is too long")
		}
		if err := errors.Join(fsys.RemoveAll(at("a")), fsys.RemoveAll(at("a"))); err != nil {
			t.Error(err)
		}
		if _, err := fsys.Stat(at("a")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after RemoveAll: %v", err)
		}
		if _, err := fsys.ReadDir(at("a")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("list what is not there: %v", err)
		}
	})
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	held := must(Lock(dir))
	if _, err := Lock(dir); !errors.Is(err, ErrLocked) { // its own file description, as another process has
		t.Errorf("locked twice: %v, want ErrLocked", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	must(Lock(dir)).Close()
	if _, err := Lock(filepath.Join(dir, "missing")); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("lock of no directory: %v", err)
	}
}

// The power goes during each of WriteFile's changes: the old file is there, or the
// new one, and once it has returned, the new one.
func TestWriteFileCrash(t *testing.T) {
	old, new := []byte("the old one"), []byte("and the new one, longer")
	for seed := range uint64(100) {
		for k, crashed := 0, true; crashed; k++ {
			c := NewCrash(seed)
			if err := WriteFile(c, "f", old); err != nil {
				t.Fatal(err)
			}
			c.CrashAt(k)
			err := WriteFile(c, "f", new)
			crashed = c.Crashed()
			got, readErr := ReadFile(c.Restart(uint64(k)), "f", 100)
			if readErr != nil || !bytes.Equal(got, new) && (err == nil || !bytes.Equal(got, old)) {
				t.Fatalf("seed %d, k %d: %q, %v, after %v", seed, k, got, readErr, err)
			}
			if crashed && !errors.Is(err, ErrCrashed) {
				t.Fatalf("seed %d, k %d: %v, want ErrCrashed", seed, k, err)
			}
		}
	}
}

// A disk that failed leaves no temporary file behind, nor a new one.
func TestWriteFileFails(t *testing.T) {
	if err := WriteFile(OS{}, filepath.Join(t.TempDir(), "no", "f"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a missing directory: %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "f"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(OS{}, filepath.Join(dir, "f"), nil); err == nil {
		t.Error("replaced a directory")
	}
	if entries := must(os.ReadDir(dir)); len(entries) != 1 {
		t.Errorf("%d entries are left, want the directory", len(entries))
	}
}
