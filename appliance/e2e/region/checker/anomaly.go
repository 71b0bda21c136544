package checker

import (
	"fmt"
	"strings"
)

// Anomaly is a way in which a log breaks what it promised. The names are those of
// Jepsen's kafka workload where it has one.
type Anomaly string

// The anomalies.
const (
	LostWrite    Anomaly = "lost write"           // acked, and not there
	Duplicate    Anomaly = "duplicate"            // sent once, and at two offsets
	Inconsistent Anomaly = "inconsistent offsets" // one offset, two contents
	TakenBack    Anomaly = "taken back"           // a reader saw it, and it is gone
	Invented     Anomaly = "invented"             // stored or read, and never sent there
	RefusedKept  Anomaly = "refused and kept"     // refused for good, and stored
	PollSkip     Anomaly = "poll skip"            // a reader was led past an offset
	Backwards    Anomaly = "non-monotonic poll"   // a reader was led back
	Reordered    Anomaly = "reordered"            // one producer's records in another order
	LateBefore   Anomaly = "non-monotonic send"   // sent after another was acked, and before it in the log
	Hole         Anomaly = "hole"                 // an offset inside the log that no record has
	OffsetGone   Anomaly = "offset gone"          // a reader is told that where it was is no offset
	Undelivered  Anomaly = "undelivered"          // a group never got it
)

// Finding is one anomaly at one place.
type Finding struct {
	Anomaly   Anomaly
	Partition int32
	Offset    int64 // -1: none
	Text      string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s at %d@%d: %s", f.Anomaly, f.Partition, f.Offset, f.Text)
}

// Rules say what a history may show all the same. The zero value allows nothing: it is
// for idempotent producers with acks=all.
type Rules struct {
	MayLose    bool // acks=1: what only the leader had may be gone, before any reader saw it
	MayRepeat  bool // producers without an id may store a record twice
	MayReorder bool // and store those in flight in another order
}

// maxShown bounds the findings of one kind that are kept; all are counted.
const maxShown = 20

// Report is what is wrong, and how much there was to look at.
type Report struct {
	Findings []Finding
	Counts   map[Anomaly]int

	Sent, Acked, Unsure, Recovered, Refused, Polled, Stored, Faults int
	Repeated, Lost                                                  int // that the rules allow
}

// Sound reports whether nothing was found.
func (r *Report) Sound() bool { return len(r.Counts) == 0 }

func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d sent: %d acked, %d unsure of which %d are stored, %d refused; %d read, %d stored, %d faults",
		r.Sent, r.Acked, r.Unsure, r.Recovered, r.Refused, r.Polled, r.Stored, r.Faults)
	if r.Repeated+r.Lost > 0 {
		fmt.Fprintf(&b, "; as allowed: %d repeated, %d lost", r.Repeated, r.Lost)
	}
	for kind, n := range r.Counts {
		fmt.Fprintf(&b, "\n%d × %s", n, kind)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "\n%v", f)
	}
	return b.String()
}

func (r *Report) find(kind Anomaly, partition int32, offset int64, format string, args ...any) {
	if r.Counts == nil {
		r.Counts = map[Anomaly]int{}
	}
	if r.Counts[kind]++; r.Counts[kind] <= maxShown {
		r.Findings = append(r.Findings, Finding{kind, partition, offset, fmt.Sprintf(format, args...)})
	}
}
