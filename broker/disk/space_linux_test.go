package disk

import (
	"errors"
	"io/fs"
	"testing"
)

// A real file system tells its size, which what is free there is a part of; one in
// memory tells nothing.
func TestCapacity(t *testing.T) {
	dir := t.TempDir()
	capacity, free := must(Capacity(OS{}, dir)), must(Free(OS{}, dir))
	if capacity < 1<<20 || free <= 0 || free > capacity {
		t.Errorf("%d bytes, %d free", capacity, free)
	}
	if n, err := Capacity(OS{}, dir+"/none"); !errors.Is(err, fs.ErrNotExist) || n != 0 {
		t.Errorf("of a path that is not there: %d, %v", n, err)
	}
	if _, err := Capacity(NewCrash(0), "/"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("in memory: %v, want ErrUnsupported", err)
	}
}
