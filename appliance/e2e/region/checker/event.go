// Package checker holds what clients of a cluster were told against what the cluster
// has in the end, in the manner of Jepsen's kafka workload: a history goes in, event
// by event, and what is wrong with it comes out.
//
// The package is pure: it does no I/O, starts no goroutines and knows no clock. A
// Checker is one goroutine's. Offsets are Kafka's. Every value is sent once, and is its
// record's name; whoever makes the history sees to it that the bytes of a record follow
// from its value, and says Foreign where they do not.
package checker

import (
	"fmt"
	"time"
)

// Value is what a record says. Values are positive.
type Value int64

// Foreign is the value of a record that none of the producers can have made.
const Foreign Value = -1

// Kind says what an event is.
type Kind uint8

// The kinds of events, with the fields that count beside At.
const (
	Send   Kind = iota // Client hands Value over for Partition
	Ack                // Value is acknowledged at Offset
	Unsure             // Value was given up: it may be stored or not
	Refuse             // Value was refused before anyone can have stored it
	Assign             // reader Client begins to read Partition anew, wherever
	Poll               // reader Client got Value at Offset
	Start              // the log of Partition begins at Offset, in the end
	Stored             // Value stands at Offset, in the end; in the order of offsets
	Gone               // reader Client is told that its offset is none; Note says how
	Fault              // Note says what was done to the cluster
)

var kindNames = [...]string{"send", "ack", "unsure", "refuse", "assign", "poll", "start", "stored", "gone", "fault"}

func (k Kind) String() string { return kindNames[k] }

// Event is a line of a history. Events come in the order in which they happened, as
// one observer saw them: a Send before the client has the record, an Ack after it said
// so.
type Event struct {
	At        time.Duration // since the history began
	Kind      Kind
	Client    int // producers and readers are counted apart
	Group     int // of a reader: 0 if it reads for itself alone
	Partition int32
	Offset    int64
	Value     Value
	Note      string
}

func (e Event) String() string {
	switch e.Kind {
	case Fault:
		return fmt.Sprintf("%v fault: %s", e.At.Round(time.Millisecond), e.Note)
	case Poll, Assign:
		return fmt.Sprintf("%v reader %d of group %d: %v %d@%d: %d", e.At.Round(time.Millisecond), e.Client, e.Group, e.Kind, e.Partition, e.Offset, e.Value)
	default:
		return fmt.Sprintf("%v producer %d: %v %d@%d: %d", e.At.Round(time.Millisecond), e.Client, e.Kind, e.Partition, e.Offset, e.Value)
	}
}
