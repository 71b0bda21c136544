package bench

import (
	"errors"
	"fmt"
	"time"
)

// Kind is what a workload asks of a broker.
type Kind string

// The kinds.
const (
	Produce Kind = "produce" // batches, to see what a byte costs
	Fetch   Kind = "fetch"   // reading what was written, over and over
	Commit  Kind = "commit"  // small synced requests, to see how they share syncs
)

// Workload is one load.
type Workload struct {
	Kind         Kind          `json:"kind"`
	RecordBytes  int           `json:"recordBytes"` // a record's value
	BatchBytes   int           `json:"batchBytes"`  // at most, unless one record is more; 0 is a record a batch
	FetchBytes   int           `json:"fetchBytes"`  // asked for by one fetch
	Connections  int           `json:"connections"`
	InFlight     int           `json:"inFlight"` // requests of a connection; a fetch has one
	Acks         int           `json:"acks"`
	Partitions   int           `json:"partitions"`
	Bytes        int64         `json:"bytes"`      // of one pass; 0 is as many as fit into Duration
	Duration     time.Duration `json:"durationNs"` // of one pass; 0 is as long as Bytes take
	Durability   string        `json:"durability"` // of the broker that is started
	SegmentBytes int           `json:"segmentBytes"`
}

// Default returns the workload that headwater's aims are told for.
func Default(kind Kind) Workload {
	w := Workload{
		Kind: kind, RecordBytes: 1 << 10, BatchBytes: 64 << 10, FetchBytes: 1 << 20, Connections: 1, InFlight: 4, Acks: -1,
		Partitions: 1, Bytes: 2 << 30, Durability: "os", SegmentBytes: 16 << 20,
	}
	switch kind {
	case Fetch:
		w.InFlight = 1
	case Commit:
		w.BatchBytes, w.Connections, w.InFlight = 0, 8, 16
		w.Bytes, w.Duration, w.Durability = 0, 3*time.Second, "sync"
	}
	return w
}

// stored is how much a fetch workload writes before it reads: it must fit into
// memory, and be more than a processor's cache.
const stored = 512 << 20

// Validate reports everything that is wrong with w, by the names of the flags.
func (w Workload) Validate() error {
	var errs []error
	within := func(name string, v, low, high int64) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("--%s: %d; allowed is %d to %d", name, v, low, high))
		}
	}
	within("record-bytes", int64(w.RecordBytes), 1, 512<<10)
	within("batch-bytes", int64(w.BatchBytes), 0, 1<<20)
	within("fetch-bytes", int64(w.FetchBytes), 1<<10, 8<<20)
	within("connections", int64(w.Connections), 1, 200)
	within("in-flight", int64(w.InFlight), 1, 1000)
	within("acks", int64(w.Acks), -1, 1)
	within("partitions", int64(w.Partitions), 1, 1000)
	within("bytes", w.Bytes, 0, 1<<40)
	within("segment-bytes", int64(w.SegmentBytes), 1<<20, 1<<30)
	if w.Bytes == 0 && w.Duration <= 0 {
		errs = append(errs, errors.New("--bytes or --duration: one is needed"))
	}
	if frames := int64(max(w.Connections, w.Partitions)) * int64(max(w.BatchBytes, w.RecordBytes)); frames > 1<<30 {
		errs = append(errs, fmt.Errorf("--batch-bytes: the frames of all partitions and connections take %d bytes; allowed is %d", frames, 1<<30))
	}
	return errors.Join(errs...)
}
