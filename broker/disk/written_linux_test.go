package disk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is written and synced is counted, in whole pages; on a file system that is
// only in memory nothing reaches a device.
func TestWrittenBytes(t *testing.T) {
	dir := t.TempDir()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	before, err := WrittenBytes()
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	f, err := OS{}.OpenFile(filepath.Join(dir, "file"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	after, err := WrittenBytes()
	if err != nil {
		t.Fatal(err)
	}
	const tmpfs = 0x01021994
	if got := after - before; got < size && st.Type != tmpfs || got < 0 {
		t.Errorf("%d bytes counted, %d were written", got, size)
	}
}

// The limit is the process's.
func TestMaxOpenFiles(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if got := MaxOpenFiles(); got != int(limit.Cur) {
		t.Errorf("%d, want %d", got, limit.Cur)
	}
}
