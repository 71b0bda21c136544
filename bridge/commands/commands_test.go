package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/record"
)

// box is a broker of one topic, and the devices.
type box struct {
	mu        sync.Mutex
	topic     string
	there     bool
	records   []record.Record
	start     int64
	committed int64 // -1 for none
	wake      chan<- struct{}
	refuse    bool // commands do not go out
	heard     chan string
	looks     int // without the topic
	refused   int // commands
	elsewhere error
}

func newBox() *box { return &box{topic: "commands", committed: -1, heard: make(chan string, 100)} }

func (b *box) locked(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *box) write(records ...record.Record) {
	b.locked(func() {
		b.there = true
		b.records = append(b.records, records...)
		if b.wake != nil {
			wake2(b.wake)
		}
	})
}

func wake2(token chan<- struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

func (b *box) EachPartition(yield func(string, int32) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.there {
		b.looks++
	} else if yield(b.topic, 0) {
		yield("telemetry", 0)
	}
}

func (b *box) Offsets(string, int32) (int64, int64, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.start, int64(len(b.records)), 0, nil
}

func (b *box) Retention(string) (int64, int64, int64, error) { return -1, -1, 1 << 20, nil }

func (b *box) ReadRecords(_ string, _ int32, from int64, _ int, yield func(int64, int64, record.Record) bool) (int64, error) {
	b.mu.Lock()
	records := b.records
	b.mu.Unlock()
	for at := from; at < min(from+2, int64(len(records))); at++ {
		if !yield(at, 0, records[at]) {
			return at, nil
		}
	}
	return min(from+2, int64(len(records))), nil
}

func (b *box) OffsetForTime(string, int32, int64) (int64, error) { return 0, nil }

func (b *box) WatchPartition(_ string, _ int32, wake chan<- struct{}) (func(), error) {
	b.locked(func() { b.wake = wake })
	return func() { b.locked(func() { b.wake = nil }) }, nil
}

func (b *box) CommitPosition(group, topic string, _ int32, offset int64, _ string, done func(error)) {
	if group != Group || topic != b.topic {
		done(fmt.Errorf("a commit of %s for %s", group, topic))
		return
	}
	b.locked(func() { b.committed = offset })
	done(nil)
}

func (b *box) Positions(_ string, yield func(string, int32, int64, string)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.committed >= 0 && b.elsewhere == nil {
		yield(b.topic, 0, b.committed, "")
	}
	return b.elsewhere
}

func (b *box) EachGroup(func(string) bool) error { return nil }

func (b *box) ForgetPosition(_, _ string, _ int32, done func(error)) { done(nil) }

func (b *box) Command(subject string, headers, payload []byte) error {
	b.mu.Lock()
	refuse := b.refuse
	if refuse {
		b.refused++
	}
	b.mu.Unlock()
	if refuse {
		return errors.New("not now")
	}
	b.heard <- subject + " " + string(headers) + string(payload)
	return nil
}

// run carries commands until the test or the returned function ends it.
func (b *box) run(t *testing.T) (stop func()) {
	t.Helper()
	c := New(Config{Rules: []subject.Command{{Topic: "commands", Subject: "do.{key}"}}, LookEvery: time.Millisecond, CommitEvery: time.Millisecond}, b, b, b, slog.New(slog.DiscardHandler), nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func (b *box) hears(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-b.heard:
			if got != w {
				t.Fatalf("the device hears %q, want %q", got, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the device does not hear %q", w)
		}
	}
}

func command(key, value string) record.Record {
	return record.Record{Key: []byte(key), Value: []byte(value)}
}

// What is written goes out in order; what makes no command is passed over; after a
// stop it goes on where it was.
func TestCarry(t *testing.T) {
	b := newBox()
	b.write(command("old", "must not happen now"))
	stop := b.run(t)
	b.await(t, func() bool { return b.committed == 1 })
	unit := command("press3", "4")
	unit.Headers = []record.Header{{Key: "unit", Value: []byte("bar")}}
	fromDevice := command("press3", "from a device")
	fromDevice.Headers = []record.Header{{Key: "hw-subject", Value: []byte("do.press3")}}
	b.write(command("press3", "1"), fromDevice, command("not a token", "2"), record.Record{Key: []byte("press3")}, command("press3", "3"), unit)
	b.hears(t, "do.press3 1", "do.press3 3", "do.press3 NATS/1.0\r\nunit: bar\r\n\r\n4")
	stop()
	if b.committed != 7 {
		t.Errorf("committed %d, want 7", b.committed)
	}
	b.write(command("press3", "5"))
	stop = b.run(t)
	b.hears(t, "do.press3 5")
	stop()
}

// await waits until what is true of the box comes true.
func (b *box) await(t *testing.T, f func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for tick := time.NewTicker(time.Millisecond); ; {
		ok := false
		b.locked(func() { ok = f() })
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it does not come true")
		}
	}
}

// A topic that is made while we run is carried from its first record.
func TestCarryNewTopic(t *testing.T) {
	b := newBox()
	stop := b.run(t)
	defer stop()
	b.await(t, func() bool { return b.looks > 0 })
	b.write(command("press3", "first"))
	b.hears(t, "do.press3 first")
}

// A command that does not go out is tried again, and none is lost or overtaken.
func TestCarryRetries(t *testing.T) {
	b := newBox()
	b.write(command("old", ""))
	stop := b.run(t)
	defer stop()
	b.await(t, func() bool { return b.committed == 1 })
	b.locked(func() { b.refuse = true })
	b.write(command("a", "1"), command("b", "2"))
	b.await(t, func() bool { return b.refused > 0 })
	b.locked(func() { b.refuse = false })
	b.hears(t, "do.a 1", "do.b 2")
}

// Commands that retention took before they were carried are passed over.
func TestCarryPastStart(t *testing.T) {
	b := newBox()
	b.committed = 1
	b.write(command("a", "0"), command("a", "1"), command("a", "2"))
	b.start = 2
	stop := b.run(t)
	defer stop()
	b.hears(t, "do.a 2")
}

// lines is what was logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Where another broker coordinates the group nothing is carried, and that is told once;
// not while a broker starts. Commands that waited are carried once the group comes here.
func TestElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		b.elsewhere = errors.New("another broker coordinates the group")
		b.committed = 0
		b.write(command("press3", "1"))
		var said lines
		c := New(Config{Rules: []subject.Command{{Topic: "commands", Subject: "do.{key}"}}}, b, b, b, slog.New(slog.NewTextHandler(&said, nil)), nil)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { c.Run(ctx) })
		defer running.Wait()
		defer cancel()
		for _, after := range []struct {
			time  time.Duration
			times int // it was told
		}{{tellAfter - 2*time.Second, 0}, {4 * time.Second, 1}, {24 * time.Hour, 1}} {
			time.Sleep(after.time)
			synctest.Wait()
			text := said.String()
			if got := strings.Count(text, "level=WARN"); got != after.times || strings.Count(text, "another broker coordinates the group") != got {
				t.Errorf("told %d times, want %d: %.500s", got, after.times, text)
			}
		}
		b.locked(func() { b.elsewhere = nil })
		if got, want := <-b.heard, "do.press3 1"; got != want {
			t.Errorf("the device hears %q, want %q", got, want)
		}
	})
}
