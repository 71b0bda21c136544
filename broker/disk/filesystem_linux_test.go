package disk

import (
	"os"
	"path/filepath"
	"testing"
)

// The kernel's word of a file system in memory, for what is there and for what is not
// made yet.
func TestFilesystemOf(t *testing.T) {
	const memory = "/dev/shm"
	for _, path := range []string{memory, filepath.Join(memory, "headwater-none", "below")} {
		if got, err := FilesystemOf(path); err != nil || got.Name != "tmpfs" || got.Volatile == "" {
			t.Errorf("%s: %+v, %v, want tmpfs", path, got, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := FilesystemOf(filepath.Join(file, "below")); err == nil {
		t.Errorf("below a file: %+v, want an error", got)
	}
}
