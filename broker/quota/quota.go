// Package quota holds Kafka clients to byte rates. It knows who may have how much
// (Table), counts what each client has had (Limiter), and says for how long one that
// had too much is to be kept waiting. It refuses nothing and waits for nothing
// itself: the server does.
//
// A client may save up what it did not use for Window, as under Kafka's own quotas,
// which are averages over that time. What it took beyond is a debt, and the time
// that it takes to pay it at the client's rate is the throttle time.
//
// The package does no I/O and starts no goroutines. Rates are in bytes a second, 0
// is no limit. A Limiter may be used from any goroutine; a Table is not changed
// once it is in use.
package quota

import (
	"slices"
	"time"
)

// Kind is what a rate is of.
type Kind int8

// The kinds of rates.
const (
	Produce Kind = iota // produce requests
	Fetch               // fetch answers
	kinds
)

const (
	// Window is for how long a client may save up what it does not use: Kafka's ten
	// whole samples of a second.
	Window = 10 * time.Second

	// MaxThrottle is how long one request can keep its client waiting: half of the
	// 30 s for which clients wait for an answer by default, so that one which does
	// not heed the throttle time does not take the broker for dead. A debt beyond it
	// stays a debt.
	MaxThrottle = 15 * time.Second

	// MaxClientID is how much of a client id counts, in bytes: clients that differ
	// only behind it share a rate.
	MaxClientID = 255
)

// kindNames are Kafka's.
var kindNames = [kinds]string{"producer_byte_rate", "consumer_byte_rate"}

// String returns Kafka's name for a rate of this kind.
func (k Kind) String() string { return kindNames[k] }

// ParseKind reads what String wrote.
func ParseKind(name string) (Kind, bool) {
	i := slices.Index(kindNames[:], name)
	return Kind(max(i, 0)), i >= 0
}

// Rates are a client's, by Kind.
type Rates [kinds]int64
