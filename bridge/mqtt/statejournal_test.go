package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// What the disk does not take is told: the publish and the subscription are refused,
// and all is well when it takes it again.
func TestStateNotWritten(t *testing.T) {
	store := &memory{}
	s, _, _ := startOn(t, store, Config{})
	subscriber(t, s, "press", "press/#", 1, 5)
	device := dial(t, s, connectOptions{id: "device"})
	other := dial(t, s, connectOptions{id: "other", keep: true})
	store.set(func() { store.fail = errors.New("the disk is full") })
	device.publish("press/3", "20", 1, 1)
	if ack := device.wants(packets.Puback, 1); ack.ReasonCode < 0x80 {
		t.Errorf("PUBACK %#x, want a refusal", ack.ReasonCode)
	}
	if code := other.subscribe("press/#", 1); code < 0x80 {
		t.Errorf("SUBACK %#x, want a refusal", code)
	}
	device.publish("elsewhere", "20", 1, 2) // nobody's session
	if ack := device.wants(packets.Puback, 2); ack.ReasonCode != 0 {
		t.Errorf("PUBACK %#x for a publish that no session waits for", ack.ReasonCode)
	}
	store.set(func() { store.fail = nil })
	eventually(t, "what was held up is written", func() bool {
		return slices.Contains(store.live(), packetKey(kindMessage, "press", 1))
	})
	device.publish("press/3", "21", 1, 3)
	if ack := device.wants(packets.Puback, 3); ack.ReasonCode != 0 {
		t.Errorf("PUBACK %#x once the disk takes it", ack.ReasonCode)
	}
	other.nothingCame()
}

// The messages of all sessions have a bound in bytes: beyond, a client that is away
// misses them, and that is counted.
func TestQueuedBytesBound(t *testing.T) {
	store := &memory{}
	s, _, _ := startOn(t, store, Config{StateBytes: 4 << 10})
	subscriber(t, s, "c", "a", 1, 5)
	device := dial(t, s, connectOptions{id: "device"})
	value := string(bytes.Repeat([]byte{'x'}, 1000))
	for i := range 10 {
		device.publish("a", value, 1, uint16(i+1))
		device.wants(packets.Puback, uint16(i+1))
	}
	if got := testutil.ToFloat64(s.state.metrics.full); got != 7 {
		t.Errorf("%v messages not kept, want 7", got)
	}
	c := dial(t, s, connectOptions{id: "c", keep: true})
	for range 3 {
		c.acknowledges(c.hears("a", value, 1))
	}
	c.nothingCame()
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if s.state.queuedBytes != 0 {
		t.Errorf("%d bytes are left of what was delivered", s.state.queuedBytes)
	}
}

// While an append takes longer than anyone waits, one wait has that time, and the others
// end at once, so that a stop has an end too.
func TestStalledJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{hold: true}
		st := newState(nil, slog.New(slog.DiscardHandler), nil)
		j := newJournal(store, st.log, st.metrics)
		var running sync.WaitGroup
		running.Go(j.run)
		start, from := time.Now(), j.mark()
		j.add(entry{"a", []byte("1")})
		for range 10 {
			if err := j.wait(from, j.mark()); !errors.Is(err, errStateSlow) {
				t.Errorf("wait ended with %v", err)
			}
		}
		if waited := time.Since(start); waited != waitTimeout {
			t.Errorf("ten waits took %v, want %v", waited, waitTimeout)
		}
		store.release()
		synctest.Wait()
		if err := j.wait(from, j.mark()); err != nil {
			t.Errorf("when the disk is back: %v", err)
		}
		store.set(func() { store.hold = true })
		j.add(entry{"b", []byte("2")})
		synctest.Wait()
		start = time.Now()
		defer j.close()()
		running.Wait()
		if took := time.Since(start); took != waitTimeout {
			t.Errorf("the end took %v, want %v", took, waitTimeout)
		}
	})
}

// The journal is bounded: while the disk takes nothing, what comes is held up, and once
// that has failed it is lost and told.
func TestJournalBound(t *testing.T) {
	store := &memory{hold: true}
	st := newState(nil, slog.New(slog.DiscardHandler), nil)
	j := newJournal(store, st.log, st.metrics)
	var running sync.WaitGroup
	running.Go(j.run)
	from := j.mark()
	value := make([]byte, 1<<20)
	j.add(entry{"first", value})
	eventually(t, "an append under way", func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return len(store.held) == 1
	})
	for range maxJournalBytes>>20 - 2 {
		j.add(entry{"more", value})
	}
	store.set(func() { store.fail = errors.New("no disk") })
	var adding sync.WaitGroup
	adding.Go(func() {
		j.add(entry{"held up", value})
		j.add(entry{"held up", value})
	})
	store.release()
	adding.Wait()
	if err := j.wait(from, j.mark()); err == nil {
		t.Error("what was added counts as durable")
	}
	if got := testutil.ToFloat64(st.metrics.lost); got != 1 { // the other took the first one's room
		t.Errorf("%v records lost, want 1", got)
	}
	store.set(func() { store.fail = nil })
	defer j.close()()
	running.Wait()
	if got := testutil.ToFloat64(st.metrics.written); got != maxJournalBytes>>20 {
		t.Errorf("%v records written, want those that had room", got)
	}
}

// One wait serves all publishes of a client that have their answer.
func TestPublishesShareAWait(t *testing.T) {
	store := &memory{}
	s, l, _ := startOn(t, store, Config{})
	subscriber(t, s, "press", "press/#", 1, 5)
	device := dial(t, s, connectOptions{id: "device"})
	l.set(func() { l.held = true })
	const count = 30
	for i := range count {
		device.publish("press/3", fmt.Sprint(i), 1, uint16(i+1))
	}
	l.await(t, "all are with ingest", func() bool { return len(l.waiting) == count })
	store.set(func() { store.hold = true })
	var last []int // the first is answered when all have an answer
	for i := range count {
		last = append(last, count-1-i)
	}
	l.release(last...)
	for groups := range 3 { // the first append has what there was until then
		eventually(t, "an append", func() bool {
			store.mu.Lock()
			defer store.mu.Unlock()
			return len(store.held) > 0
		})
		store.mu.Lock()
		held := store.held
		store.held = nil
		written := len(store.keys)
		store.mu.Unlock()
		for _, done := range held {
			done()
		}
		if written == 2+1+count { // the session comes, subscribes and goes; then the messages
			break
		}
		if groups == 2 {
			t.Fatalf("after three appends only %d records are written", written)
		}
	}
	for i := range count {
		device.wants(packets.Puback, uint16(i+1))
	}
}
