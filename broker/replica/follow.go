package replica

// Diverged reports whether a follower, whose log ends at fetchOffset with a batch of
// lastFetchedEpoch, has records that its leader has not; end is where that epoch ends
// in the leader's log. known is false when the leader cannot tell: it has no epoch so
// late, and the offset is out of range.
func Diverged(lastFetchedEpoch int32, fetchOffset int64, end EpochEnd) (diverged, known bool) {
	if end.unknown() {
		return false, false
	}
	return end.Epoch < lastFetchedEpoch || end.EndOffset < fetchOffset, true
}

// Log is what a follower's rules need to know of its log.
type Log struct {
	EndOffset     int64
	HighWatermark int64
}

// Truncation is what a follower must remove: all from EndOffset on. Unless it is
// Complete, it then asks again, with what is its last epoch by then.
type Truncation struct {
	EndOffset int64
	Complete  bool
}

// Truncate says what a follower removes when its leader's answer to the follower's
// last epoch is leader, which is a fetch's diverging epoch or an OffsetForLeaderEpoch.
// own is where the epoch that the leader names ends in the follower's log (KIP-101,
// KIP-279).
func Truncate(leader, own EpochEnd, log Log) Truncation {
	switch {
	case leader.unknown(): // it has no epochs at all, or an earlier last one than ours and nothing in common
		return Truncation{min(log.HighWatermark, log.EndOffset), true}
	case leader.Epoch == Unknown || own.unknown():
		return Truncation{min(leader.EndOffset, log.EndOffset), true}
	case own.Epoch != leader.Epoch: // we have not that epoch: ask for the one before it
		return Truncation{min(own.EndOffset, log.EndOffset), false}
	default:
		return Truncation{min(own.EndOffset, leader.EndOffset, log.EndOffset), true}
	}
}

// BeforeFirstFetch is where a follower's log must end before it fetches from a new
// leader. One that knows an epoch finds out by it where it diverges. One whose log
// knows none, of an old Kafka, keeps what it knows to be committed.
func BeforeFirstFetch(lastEpoch int32, log Log) (endOffset int64) {
	if lastEpoch == Unknown {
		return min(log.HighWatermark, log.EndOffset)
	}
	return log.EndOffset
}

// Recovery is what a follower does whose leader said OFFSET_OUT_OF_RANGE: it fetches
// from FetchOffset on, after it has truncated its log to there or, with Restart,
// emptied it.
type Recovery struct {
	FetchOffset int64
	Restart     bool
}

// Recover says how a follower whose log ends at logEnd goes on from a leader whose log
// is leaderStart to leaderEnd. A leader that is shorter was elected though it had not
// all; one that starts later has deleted what the follower has not seen.
func Recover(leaderStart, leaderEnd, logEnd int64) Recovery {
	switch {
	case leaderEnd < logEnd:
		return Recovery{leaderEnd, leaderStart > leaderEnd}
	case leaderStart > logEnd:
		return Recovery{leaderStart, true}
	default:
		return Recovery{logEnd, false}
	}
}

// FollowerHighWatermark is the high watermark of a follower: the leader's, as far as
// it has told it, and as far as the follower's log is durable. It never goes back but
// for a truncation, after which it is the log's end at most.
func FollowerHighWatermark(prev, leaderHighWatermark, durableEnd int64) int64 {
	return max(prev, min(leaderHighWatermark, durableEnd))
}

// FollowerLogStart is where a follower's log starts: where the leader's does, but
// nothing goes that is not known to be committed.
func FollowerLogStart(own, leaderLogStartOffset, highWatermark int64) int64 {
	return max(own, min(leaderLogStartOffset, highWatermark))
}
