package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Where nothing stays nothing is kept, unless the settings say so.
func TestVolatileDataDirectory(t *testing.T) {
	const memory = "/dev/shm"
	in, err := os.MkdirTemp(memory, "headwater-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(in) })
	dir := filepath.Join(in, "data")
	_, stderr, code := call(t, nil, serveArgs(dir, "--data.allowVolatile=false")...)
	want := "data.dir: " + dir + " lies on tmpfs, which is in memory alone, and is empty after the machine has started again; " +
		"allowed is a directory on a disk or a volume, or this one with data.allowVolatile\n"
	if code != 2 || stderr != want {
		t.Errorf("exit code %d, stderr %q; want 2, %q", code, stderr, want)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s was written (%v)", dir, err)
	}
}
