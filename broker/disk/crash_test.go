package disk

import (
	"errors"
	"io/fs"
	"os"
	"testing"
)

// outcomes collects what is found after many restarts.
func outcomes(t *testing.T, change func(c *Crash), look func(c *Crash) string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for seed := range uint64(400) {
		c := NewCrash(seed)
		change(c)
		found[look(c.Restart(7))]++
	}
	return found
}

func wantOnly(t *testing.T, found map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if found[w] == 0 {
			t.Errorf("%q never survived", w)
		}
		delete(found, w)
	}
	if len(found) > 0 {
		t.Errorf("also survived: %v", found)
	}
}

// synced makes a durable file with data in it, and returns it.
func synced(c *Crash, name, data string) File {
	f := must(c.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644))
	must(f.WriteAt([]byte(data), 0))
	if err := errors.Join(f.Sync(), c.SyncDir(".")); err != nil {
		panic(err)
	}
	return f
}

func content(c *Crash) string {
	data, err := ReadFile(c, "f", 100)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	return string(data)
}

func TestCrashSurvivors(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(c *Crash)
		want   []string
	}{
		"synced":      {func(c *Crash) { synced(c, "f", "ab") }, []string{"ab"}},
		"appended":    {func(c *Crash) { f := synced(c, "f", "ab"); must(f.WriteAt([]byte("cd"), 2)) }, []string{"ab", "abc", "abcd", "ab\x00\x00"}},
		"overwritten": {func(c *Crash) { f := synced(c, "f", "ab"); must(f.WriteAt([]byte("xy"), 0)) }, []string{"ab", "xb", "xy"}},
		"cut":         {func(c *Crash) { check(synced(c, "f", "ab").Truncate(1)) }, []string{"ab", "a"}},
		"notItsName": {func(c *Crash) {
			f := must(c.OpenFile("f", os.O_RDWR|os.O_CREATE, 0))
			must(f.WriteAt([]byte("a"), 0))
			check(f.Sync())
		}, []string{"none", "a"}},
		"notItsBytes": {func(c *Crash) {
			f := must(c.OpenFile("f", os.O_RDWR|os.O_CREATE, 0))
			must(f.WriteAt([]byte("a"), 0))
			check(c.SyncDir("."))
		}, []string{"", "\x00", "a"}},
		"removed":      {func(c *Crash) { synced(c, "f", "a"); check(c.Remove("f")) }, []string{"a", "none"}},
		"removedSurly": {func(c *Crash) { synced(c, "f", "a"); check(c.Remove("f")); check(c.SyncDir(".")) }, []string{"none"}},
		"renamed":      {func(c *Crash) { synced(c, "f", "a"); synced(c, "g", "b"); check(c.Rename("g", "f")) }, []string{"a", "b"}},
		"secondOnly": {func(c *Crash) {
			f := synced(c, "f", "")
			must(f.WriteAt([]byte("a"), 0))
			must(f.WriteAt([]byte("b"), 1))
		}, []string{"", "\x00", "a", "ab", "\x00b", "a\x00", "\x00\x00"}},
	} {
		t.Run(name, func(t *testing.T) { wantOnly(t, outcomes(t, tc.change, content), tc.want...) })
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// What a power cut leaves follows from the seeds.
func TestCrashDeterministic(t *testing.T) {
	look := func(seed, again uint64) string {
		c := NewCrash(seed)
		f := synced(c, "f", "")
		for i := range 10 {
			must(f.WriteAt([]byte("abcdefghij"), int64(10*i)))
		}
		return content(c.Restart(again))
	}
	different := map[string]bool{}
	for seed := range uint64(20) {
		for again := range uint64(5) {
			first, second := look(seed, again), look(seed, again)
			if first != second {
				t.Fatalf("seeds %d, %d: %q, and again: %q", seed, again, first, second)
			}
			different[first] = true
		}
	}
	if len(different) < 50 {
		t.Errorf("100 seeds gave %d outcomes", len(different))
	}
}

// From the k-th change on there is nothing but ErrCrashed, and that change may be
// found, in part or whole; for a process that only was killed it is there.
func TestCrashAt(t *testing.T) {
	found := map[string]int{}
	for seed := range uint64(200) {
		c := NewCrash(seed)
		f := synced(c, "f", "a")
		c.CrashAt(1)
		must(f.WriteAt([]byte("b"), 1))
		if _, err := f.WriteAt([]byte("cd"), 2); !errors.Is(err, ErrCrashed) || !c.Crashed() || c.Ops() != 5 {
			t.Fatalf("the second change: %v, after %d changes", err, c.Ops())
		}
		_, openErr := c.OpenFile("f", os.O_RDONLY, 0)
		_, readErr := f.ReadAt(make([]byte, 1), 0)
		_, listErr := c.ReadDir(".")
		for _, err := range []error{openErr, readErr, listErr, f.Sync(), f.Close(), c.Remove("f"), c.MkdirAll("d", 0), c.SyncDir("."), c.RemoveAll("f")} {
			if !errors.Is(err, ErrCrashed) {
				t.Errorf("after the crash: %v", err)
			}
		}
		if got := content(c.Kill()); got != "abcd" {
			t.Fatalf("after a kill: %q, want abcd", got)
		}
		found[content(c.Restart(3))]++
	}
	for _, want := range []string{"a", "ab", "abc", "abcd", "ab\x00\x00", "a\x00cd"} {
		if found[want] == 0 {
			t.Errorf("%q never survived: %v", want, found)
		}
	}
}
