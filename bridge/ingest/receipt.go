package ingest

import "time"

// receipt is when a message was received.
type receipt struct {
	at      time.Time
	doubted bool // the time of day was not known to be right
}

// receive is the receipt of a message that comes now. Whether the clock is right is
// asked before what it says: it may be set in between, and a time from before that must
// not pass for a good one.
func (in *Ingest) receive() receipt {
	doubted := !in.cfg.Synchronized()
	return receipt{time.Now(), doubted}
}

// unsynchronized is the value of headerClock beside a time that is in doubt.
var unsynchronized = []byte("unsynchronized")

// markBound is the most bytes that such a mark takes in a record.
var markBound = 2*maxVarintLen + len(headerClock) + len(unsynchronized)
