package ingest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/topic"
)

// state is what is known of a topic.
type state int8

const (
	unknown state = iota // its messages wait; it is asked for
	known                // it exists
	refused              // the broker would not have it; ask again later
)

// topicState is what is remembered of a topic. Ingest's mu guards it.
type topicState struct {
	name       string
	state      state
	partitions topic.Partitions // while known
	err        error            // while refused
	askAgain   time.Time        // not before this
	asking     bool             // it is in unresolved, or being asked for
	stale      bool             // a batch failed: ask again before the next message
	failing    bool             // the last answer was an error, and that was logged
	gathers    map[int32]*gather
	waiting    waitingRoom // while unknown
}

// askInterval bounds how often a topic is asked for. One that is known is asked for
// again, too, since it may have got more partitions; its messages do not wait for
// that.
const askInterval = time.Second

// topic returns what is known of the topic called name, and sees to it that it is
// asked for, now and then.
func (in *Ingest) topic(name []byte, now time.Time) (*topicState, reason) {
	t := in.topics[string(name)]
	if t == nil {
		if len(in.topics) >= in.cfg.MaxTopics && !in.forgetTopic(nil) {
			return nil, noRoom
		}
		t = &topicState{name: string(name), gathers: map[int32]*gather{}}
		in.topics[t.name] = t
		in.ask(t)
	}
	if !t.asking && !now.Before(t.askAgain) {
		in.ask(t)
	}
	if t.asking && (t.stale || t.state == refused) {
		t.state, t.stale = unknown, false
	}
	return t, taken
}

func (in *Ingest) ask(t *topicState) {
	t.asking = true
	in.unresolved = append(in.unresolved, t)
	wake(in.wakeResolver)
}

// forgetTopic makes room by forgetting a topic other than keep that has nothing
// going on, if one of a few tried is such.
func (in *Ingest) forgetTopic(keep *topicState) bool {
	tries := 16
	for name, t := range in.topics {
		if t != keep && t.idle() {
			in.gathers -= len(t.gathers)
			delete(in.topics, name)
			return true
		}
		if tries--; tries == 0 {
			break
		}
	}
	return false
}

func (t *topicState) idle() bool {
	if t.asking || t.waiting.messages.len > 0 {
		return false
	}
	for _, g := range t.gathers {
		if !g.idle() {
			return false
		}
	}
	return true
}

// gather returns where t's partition comes together, or nil when too many are
// remembered.
func (in *Ingest) gather(t *topicState, partition int32) *gather {
	if g := t.gathers[partition]; g != nil {
		return g
	}
	for in.gathers >= in.cfg.MaxPartitions {
		if !in.forgetTopic(t) {
			return nil
		}
	}
	g := &gather{
		topic:     t,
		partition: partition,
		stream:    strings.ReplaceAll(t.name, ".", "~") + "-" + strconv.Itoa(int(partition)),
	}
	if in.cfg.DedupWindow > 0 {
		if _, end, _, err := in.cfg.Store.Offsets(t.name, partition); err == nil {
			g.tailEnd = end
		}
	}
	t.gathers[partition] = g
	in.gathers++
	return g
}

// resolve asks the Appender for topics, one at a time.
func (in *Ingest) resolve(ctx context.Context) {
	for {
		t := in.nextUnresolved()
		if t == nil {
			select {
			case <-in.wakeResolver:
				continue
			case <-ctx.Done():
				return
			}
		}
		partitions, err := in.partitions(ctx, t.name)
		in.resolved(t, partitions, err)
		if ctx.Err() != nil {
			return
		}
	}
}

func (in *Ingest) nextUnresolved() *topicState {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.unresolved) == 0 {
		return nil
	}
	t := in.unresolved[0]
	in.unresolved[0] = nil
	in.unresolved = in.unresolved[1:]
	return t
}

func (in *Ingest) partitions(ctx context.Context, name string) (topic.Partitions, error) {
	ctx, cancel := context.WithTimeout(ctx, in.cfg.TopicTimeout)
	defer cancel()
	n, err := in.appender.Partitions(ctx, name)
	if err == nil && n.Count < 1 {
		return n, fmt.Errorf("topic %s has %d partitions", name, n.Count)
	}
	return n, err
}

// resolved settles what the broker said of t, and the messages that waited for it.
func (in *Ingest) resolved(t *topicState, partitions topic.Partitions, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	t.asking, t.askAgain = false, time.Now().Add(askInterval)
	if err != nil && t.state == known && !t.stale {
		return // what is known serves on; if it no longer holds, a batch will say so
	}
	if failing := err != nil; failing != t.failing {
		t.failing = failing
		in.tell(t, err)
	}
	if err != nil {
		t.state, t.err = refused, err
		in.refuseWaiting(t, topicRefused, err)
		return
	}
	t.state, t.partitions, t.err = known, partitions, nil
	in.placeWaiting(t)
	in.sendHurried()
	if in.stopping {
		in.sealAll()
		in.acker.poke()
	}
}

// tell logs that t is no longer available, for err, or is again. Topics beyond the
// number that devices may cause are one event: there may be any number of them.
func (in *Ingest) tell(t *topicState, err error) {
	switch {
	case err == nil:
		in.crowded = false
		in.log.Info("topic available again", "topic", t.name)
	case !in.cfg.Crowded(err):
		in.log.Warn("topic not available; its messages are turned away", "topic", t.name, "err", err)
	case !in.crowded:
		in.crowded = true
		in.log.Warn("devices may cause no more topics; messages for further ones are turned away", "topic", t.name, "err", err)
	}
}
