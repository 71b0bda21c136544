package appliance

import (
	"testing"
	"testing/fstest"

	"github.com/headwater/headwater/appliance/config"
)

func TestMemoryLimit(t *testing.T) {
	const v1None = "9223372036854771712\n" // what version 1 tells without a limit
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, tc := range map[string]struct {
		setting int64
		root    fstest.MapFS
		want    int64
	}{
		"said":     {64 << 20, fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("1000\n")}, 64 << 20},
		"none":     {config.MemoryNone, fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("1000\n")}, 0},
		"noCgroup": {config.MemoryAuto, fstest.MapFS{}, 0},
		"v2": {config.MemoryAuto, fstest.MapFS{
			"proc/self/cgroup":         file("0::/\n"),
			"sys/fs/cgroup/memory.max": file("134217728\n"),
		}, 134217728},
		"v2max": {config.MemoryAuto, fstest.MapFS{
			"proc/self/cgroup":         file("0::/\n"),
			"sys/fs/cgroup/memory.max": file("max\n"),
		}, 0},
		"v2parent": {config.MemoryAuto, fstest.MapFS{
			"proc/self/cgroup":                         file("0::/a.slice/b.scope\n"),
			"sys/fs/cgroup/a.slice/memory.max":         file("1000\n"),
			"sys/fs/cgroup/a.slice/b.scope/memory.max": file("2000\n"),
		}, 1000},
		"v2high": {config.MemoryAuto, fstest.MapFS{
			"proc/self/cgroup":                  file("0::/a.slice\n"),
			"sys/fs/cgroup/a.slice/memory.max":  file("2000\n"),
			"sys/fs/cgroup/a.slice/memory.high": file("1000\n"),
		}, 1000},
		"hybrid": {config.MemoryAuto, fstest.MapFS{
			"proc/self/cgroup": file("4:memory:/x\n0::/\n"),
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("5000\n"),
		}, 5000},
		"v1": {config.MemoryAuto, fstest.MapFS{
			"proc/self/cgroup":                                    file("8:cpu,cpuacct:/x\n4:memory:/docker/1\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes":          file(v1None),
			"sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": file("3000\n"),
		}, 3000},
		"v1hiddenPath": {config.MemoryAuto, fstest.MapFS{
			"proc/self/cgroup":                           file("4:memory:/docker/1\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("4000\n"),
		}, 4000},
		"v1none": {config.MemoryAuto, fstest.MapFS{
			"proc/self/cgroup":                           file("4:memory:/\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file(v1None),
		}, 0},
		"oddTable": {config.MemoryAuto, fstest.MapFS{"proc/self/cgroup": file("memory\n::\n4:memory:../../..\n")}, 0},
	} {
		if got := MemoryLimit(tc.setting, tc.root); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// Budgets follow the limit, hold the largest batch, and leave half of the memory
// to everything else unless it is very small.
func TestBudgets(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		limit, batch int64
		want         budgets
	}{
		"none":     {0, mib, budgets{64 * mib, 64 * mib, 32 * mib, 8 * mib, 8 * mib, 8 * mib, 10 * mib, 8 * mib, 64 * mib, 16 * mib / 256}},
		"large":    {8 << 30, mib, budgets{64 * mib, 64 * mib, 32 * mib, 8 * mib, 8 * mib, 8 * mib, 10 * mib, 32 * mib, 128 * mib, 64 * mib / 256}},
		"gateway":  {96 * mib, mib, budgets{16 * mib, 16 * mib, 12 * mib, 3 * mib / 2, 3 * mib, 3 * mib / 2, 3 * mib, 3 * mib / 2, 12 * mib, 3 * mib / 256}},
		"small":    {32 * mib, 1000, budgets{32 * mib / 6, 32 * mib / 6, 4 * mib, mib / 2, mib, mib / 2, mib, mib / 2, 4 * mib, mib / 256}},
		"bigBatch": {64 * mib, 10 * mib, budgets{20 * mib, 20 * mib, 20 * mib, mib, 2 * mib, mib, 2 * mib, mib, 8 * mib, 2 * mib / 256}},
	} {
		if got := budgetsUnder(tc.limit, tc.batch); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
	for limit := int64(48 * mib); limit < 4<<30; limit += mib {
		b := budgetsUnder(limit, mib)
		if b.produce+b.fetch+b.bridge > limit/2 {
			t.Fatalf("under %d: %+v is more than half", limit, b)
		}
		if kept := b.indexes + int64(b.producers)*producerBytes; kept > limit/16 {
			t.Fatalf("under %d: %+v keeps %d bytes", limit, b, kept)
		}
		if b.followed > limit/32 {
			t.Fatalf("under %d: an answer to a follower may take %d bytes", limit, b.followed)
		}
		if b.sessions > limit/64 || b.dedup > limit/64 {
			t.Fatalf("under %d: %+v remembers more than a sixty-fourth", limit, b)
		}
	}
}

// The runtime gets the ceiling less what it does not count.
func TestHeapLimit(t *testing.T) {
	const mib = 1 << 20
	for limit, want := range map[int64]int64{0: 0, 32 * mib: 16 * mib, 64 * mib: 40 * mib, 240 * mib: 216 * mib, 1000 * mib: 900 * mib} {
		if got := HeapLimit(limit); got != want {
			t.Errorf("under %d: %d, want %d", limit, got, want)
		}
	}
}
