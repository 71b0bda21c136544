package appliance

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/headwater/headwater/appliance/config"
)

// MemoryLimit returns the ceiling in bytes that setting, a memory.limit, stands
// for, 0 for none. root is the machine's file system, where the limits of the
// cgroup are.
func MemoryLimit(setting int64, root fs.FS) int64 {
	if setting != config.MemoryAuto {
		return setting
	}
	return cgroupLimit(root)
}

// outsideHeap is what a process has in memory that the runtime does not count:
// pages of the binary, of which some 20 MB have been used soon after the start.
const outsideHeap = 24 << 20

// HeapLimit is what the Go runtime may use under a ceiling of limit bytes: the rest
// is for what it does not count. Under a very small one it is half.
func HeapLimit(limit int64) int64 { return max(limit-max(limit/10, outsideHeap), limit/2) }

// cgroupLimit returns the smallest memory limit on the way from the process's
// cgroup up to the root, 0 when there is none. Above memory.high, which systemd's
// MemoryHigh sets, nobody is killed, but all are slowed down until they hardly move. Inside a container the path that
// the kernel tells may not be visible; then the root is the container's own.
func cgroupLimit(root fs.FS) int64 {
	table, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(table)) {
		// hierarchy:controllers:path; version 2 names no controllers.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		mount, files := "sys/fs/cgroup", []string{"memory.max", "memory.high"}
		if fields[1] == "memory" {
			mount, files = "sys/fs/cgroup/memory", []string{"memory.limit_in_bytes"}
		} else if fields[1] != "" {
			continue
		}
		for dir := path.Clean("/" + fields[2]); ; dir = path.Dir(dir) {
			for _, file := range files {
				least = min(least, limitIn(root, path.Join(mount, dir, file)))
			}
			if dir == "/" {
				break
			}
		}
	}
	if least >= unlimited {
		return 0
	}
	return least
}

// unlimited is far below what a version 1 cgroup without a limit tells, and far
// above any machine's memory.
const unlimited = 1 << 60

func limitIn(root fs.FS, name string) int64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n <= 0 { // "max"
		return math.MaxInt64
	}
	return n
}

// budgets is how much of the memory, in bytes, may hold requests and messages.
type budgets struct {
	produce  int64 // Kafka produce requests until they are appended
	fetch    int64 // answers to Kafka fetches until they are sent
	bridge   int64 // devices' messages until they are on flash
	dedup    int64 // ids of devices' messages
	indexes  int64 // indexes of the segments that grow
	sessions int64 // partitions of Kafka consumers that are remembered between fetches
	followed int64 // one answer of a leader whose partitions are replicated here
	pending  int64 // for one NATS client that does not read

	allPending int64 // for all of those together

	producers int // idempotent producers that are remembered, over all partitions
}

// producerBytes is what one of them takes, its place in a map included.
const producerBytes = 256

// budgetsUnder divides limit, the runtime's, 0 for none, so that requests, answers
// and messages together take at most half of it while it is not very small. Each
// holds at least two of the largest batches: one that is taken while another is on
// its way. Of what a region's leaders send, each may have a thirty-second on its way
// here, but for one larger batch. What is kept to be quick takes a sixteenth more, and what is remembered of
// consumers and of message ids a sixty-fourth each.
func budgetsUnder(limit, maxBatchBytes int64) budgets {
	if limit == 0 {
		limit = 512 << 20
	}
	share := func(part, ceiling int64) int64 {
		return max(min(limit/part, ceiling), 4<<20, 2*maxBatchBytes)
	}
	return budgets{
		produce:  share(6, 64<<20),
		fetch:    share(6, 64<<20),
		bridge:   share(8, 32<<20),
		dedup:    min(limit/64, 8<<20),
		indexes:  min(limit/32, 8<<20),
		sessions: min(limit/64, 8<<20),
		followed: max(min(limit/32, 10<<20), 1<<20),
		pending:  min(limit/64, 32<<20),

		allPending: min(limit/8, 128<<20),

		producers: int(min(limit/32, 64<<20) / producerBytes),
	}
}
