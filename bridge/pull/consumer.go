package pull

import (
	"slices"
	"strconv"
	"time"
)

// consumer is one of a stream's consumers. All of it is guarded by its consumers'
// lock; what is said to its clients is said by the one goroutine that serves it, so
// that it arrives in order.
type consumer struct {
	stream   stream
	name     string
	config   consumerConfig
	filters  []filter
	created  time.Time
	progress *progress
	pulls    pulls
	says     []saying // to be sent when it is served next
	gone     bool     // deleted, or its topic was

	lastActive, lastGiven, lastAcked time.Duration // 0: never

	// Serving.
	busy     bool          // a goroutine serves it
	queued   bool          // it waits for one
	again    bool          // it has to be served once more
	stalled  bool          // new records wait for acknowledgements
	retryAt  time.Duration // after an error; 0: there was none
	failed   bool          // that was logged
	lookedAt time.Duration // for pulls that nobody waits for any more
	window   int           // bytes of the log to read at once
	wakeAt   time.Duration // when there is something to do; 0: never
	place    int           // in the heap of those times; -1: not there

	// Of a durable one.
	dirty       bool          // there is something to commit
	commitAt    time.Duration // when, at the latest
	committing  bool          // a commit is on its way
	committed   int64         // offset of the last one that is durable
	commits     uint64        // how many were durable or failed
	refreshAt   time.Duration // when it is committed again, so that it does not expire
	uncommitted bool          // that commits fail was logged
	acked       []string      // inboxes of those who wait to hear of a commit
	told        []chan error  // likewise, of requests
	leaving     []chan error  // who waits for the commit that is on its way to end

	countedPending, countedWaiting int // in the box's sums
}

// maxAcked bounds those who wait for one consumer's commit.
const maxAcked = 2048

// takes reports whether the consumer is for messages on a subject.
func (c *consumer) takes(subject []byte) bool {
	return len(c.filters) == 0 || slices.ContainsFunc(c.filters, func(f filter) bool { return f.Matches(subject) })
}

// say has something said when the consumer is served next.
func (c *consumer) say(s saying) { c.says = append(c.says, s) }

// maxSays bounds what waits to be said for the sake of those who ask faster than they
// are answered.
const maxSays = 2048

// sayAll takes what is to be said.
func (c *consumer) sayAll() []saying {
	says := c.says
	c.says = nil
	return says
}

// look ends what has had its time at now: pulls, deliveries that are not repeated
// any more. atEnd says that there are no more records. next is when to look again.
func (c *consumer) look(now time.Duration, atEnd bool) (exhausted []delivery, next time.Duration) {
	for {
		offset, count, ok := c.progress.exhausted(now)
		if !ok {
			break
		}
		exhausted = append(exhausted, delivery{offset: offset, count: count})
	}
	before := len(c.pulls.waiting)
	next = c.pulls.look(now, atEnd, c.progress.sequence, uint64(c.progress.next), c.say)
	if len(c.pulls.waiting) < before {
		c.lastActive = now // a client whose pull ends is one that was there
	}
	if due, ok := c.progress.nextDue(); ok && (len(c.pulls.waiting) > 0 || c.progress.rules.maxDeliver > 0) {
		next = earlier(next, max(due, 1))
	}
	return exhausted, next
}

// room is how many records may be given for the first time.
func (c *consumer) room() int {
	if c.progress.rules.policy == ackNone {
		return int(^uint(0) >> 1)
	}
	return c.config.MaxAckPending - c.progress.unacked()
}

// idleAt is when a consumer without clients is forgotten; 0 for never.
func (c *consumer) idleAt() time.Duration {
	if c.config.InactiveThreshold == 0 || len(c.pulls.waiting) > 0 || c.busy {
		return 0
	}
	return c.lastActive + c.config.InactiveThreshold
}

// refuse is the status for a pull that asks for more than the configuration allows;
// "" when it does not.
func (c *consumer) refuse(p *pull) (text string) {
	switch {
	case c.config.MaxBatch > 0 && p.batch > c.config.MaxBatch:
		return "Exceeded MaxRequestBatch of " + strconv.Itoa(c.config.MaxBatch)
	case c.config.MaxExpires > 0 && p.expires-p.arrived > c.config.MaxExpires:
		return "Exceeded MaxRequestExpires of " + c.config.MaxExpires.String()
	case c.config.MaxBytes > 0 && p.maxBytes > c.config.MaxBytes:
		return "Exceeded MaxRequestMaxBytes of " + strconv.Itoa(c.config.MaxBytes)
	case len(c.pulls.waiting) >= c.config.MaxWaiting:
		return exceededMaxWaiting
	}
	return ""
}

const exceededMaxWaiting = "Exceeded MaxWaiting"
