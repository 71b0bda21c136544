//go:build interop

package card

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// What was synced is there after a power cut, what was not is gone.
func TestCut(t *testing.T) {
	c, err := New(t.TempDir(), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	kept := create(t, c, "kept")
	dir, err := os.Open(c.Dir)
	if err := errors.Join(err, kept.Sync(), dir.Sync(), kept.Close(), dir.Close()); err != nil {
		t.Fatal(err)
	}
	lost := create(t, c, "lost")
	if err := errors.Join(c.Cut(), lost.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "late"), nil, 0o600); err == nil {
		t.Error("a card without power was written to")
	}
	if err := c.Restore(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(c.Dir, "kept")); string(got) != "kept" {
		t.Errorf("what was synced reads %q, %v", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(c.Dir, "lost")); len(got) != 0 {
		t.Errorf("what was not synced reads %q, %v", got, err)
	}
}

func create(t *testing.T, c *Card, name string) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(c.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(name); err != nil {
		t.Fatal(err)
	}
	return file
}
