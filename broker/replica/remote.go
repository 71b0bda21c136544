package replica

import "time"

// Fetch is what a follower's fetch tells its leader. Its offset is where the
// follower's log ends, durably.
type Fetch struct {
	Replica        int32
	BrokerEpoch    int64 // Unknown where the protocol does not carry it
	Offset         int64
	LogStartOffset int64 // Unknown where the protocol does not carry it
}

// remote is what a leader knows of another replica.
type remote struct {
	id             int32
	brokerEpoch    int64
	endOffset      int64
	logStartOffset int64

	caughtUpAt time.Time // when it last had all that the leader had
	fetchedAt  time.Time // when its last fetch came, zero before
	leaderEnd  int64     // the leader's end then
}

// newRemote is a replica of which nothing is known. One that is in the ISR was caught
// up, as far as the leader has heard; it has the time of the maximal lag to show it.
func newRemote(id int32, inSync bool, now time.Time) remote {
	r := remote{id: id, brokerEpoch: Unknown, endOffset: Unknown, logStartOffset: Unknown, leaderEnd: Unknown}
	if inSync {
		r.caughtUpAt = now
	}
	return r
}

// fetched notes a fetch. A follower that always fetches a moment after the leader's
// end has moved on is caught up as well: what it asks for now reaches the end of
// when it asked last.
func (r *remote) fetched(f Fetch, leaderEnd int64, now time.Time) {
	switch {
	case f.Offset >= leaderEnd:
		r.caughtUpAt = latest(r.caughtUpAt, now)
	case f.Offset >= r.leaderEnd:
		r.caughtUpAt = latest(r.caughtUpAt, r.fetchedAt)
	}
	r.brokerEpoch, r.endOffset, r.logStartOffset = f.BrokerEpoch, f.Offset, f.LogStartOffset
	r.leaderEnd, r.fetchedAt = max(r.leaderEnd, leaderEnd), now
}

// caughtUp reports whether the replica has what the leader has, or had it not longer
// than maxLag ago.
func (r *remote) caughtUp(leaderEnd int64, maxLag time.Duration, now time.Time) bool {
	return r.endOffset >= leaderEnd || !r.caughtUpAt.IsZero() && now.Sub(r.caughtUpAt) <= maxLag
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
