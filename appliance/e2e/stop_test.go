package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// load is devices that publish acked messages until they lose the connection.
type load struct {
	devices []*publisher
	acks    *progress
	running sync.WaitGroup
	errs    []error // by device; settled once running is done
}

// startLoad starts n devices, which publish on telemetry.<device>.load.
func startLoad(ctx context.Context, address string, n int) *load {
	l := &load{acks: newProgress(), errs: make([]error, n)}
	for i := range n {
		p := newPublisher(address, 32)
		p.onAck = func(ack) { l.acks.add(1) }
		l.devices = append(l.devices, p)
		l.running.Go(func() {
			number := 0
			l.errs[i] = p.publish(ctx, func() (message, bool) {
				number++
				return message{number: number, subject: subjectOf(i), value: fmt.Sprint(number), wantAck: true}, true
			})
		})
	}
	return l
}

func deviceOf(i int) string { return fmt.Sprintf("device%d", i) }

func subjectOf(i int) string { return "telemetry." + deviceOf(i) + ".load" }

// check waits for the devices to end and holds the log against their acks. An
// answer other than an ack is allowed: the process may refuse while it stops. It
// returns how many messages were acked.
func (l *load) check(t *testing.T, records []stored) (total int) {
	t.Helper()
	l.running.Wait()
	for i, err := range l.errs {
		if !errors.Is(err, errLost) {
			t.Errorf("%s ended with %v, want %v", deviceOf(i), err, errLost)
		}
	}
	index := byPlace(records)
	lost := 0
	for i, d := range l.devices {
		acked, _ := d.answers()
		total += len(acked)
		for number, a := range acked {
			if got := index[a.place]; got.key != deviceOf(i) || got.value != fmt.Sprint(number) {
				lost++
				t.Logf("%s: message %d was acked at %v, where %q of %q is", deviceOf(i), number, a.place, got.value, got.key)
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acked messages are not where they should be", lost, total)
	}
	t.Logf("%d messages acked, %d stored", total, len(records))
	return total
}

// SIGTERM under load: the process goes with exit code 0. What was acked is there
// after a restart, and what is there was acked.
func TestSIGTERM(t *testing.T) {
	p := start(t)
	l := startLoad(within(t, patience), p.NATS, 4)
	l.acks.await(t, p, 1000, "acks")
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(within(t, patience)); err != nil || code != 0 {
		t.Fatalf("exit code %d, err %v, want 0", code, err)
	}
	restart(t, p)
	records := readAll(t, p.Kafka, "telemetry")
	if acked := l.check(t, records); acked != len(records) {
		t.Errorf("%d messages were acked, %d are stored: some were taken and not answered", acked, len(records))
	}
}

// A second signal ends the process at once. Both reach it together, since it is
// held while they are sent. What was acked is there all the same.
func TestSecondSignal(t *testing.T) {
	p := start(t)
	l := startLoad(within(t, patience), p.NATS, 4)
	l.acks.await(t, p, 1000, "acks")
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCONT} {
		if err := p.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	code, err := p.Wait(within(t, patience))
	if want := []int{128 + int(syscall.SIGTERM), 128 + int(syscall.SIGINT)}; err != nil || !slices.Contains(want, code) {
		t.Errorf("exit code %d, err %v, want one of %v", code, err, want)
	}
	restart(t, p)
	l.check(t, readAll(t, p.Kafka, "telemetry"))
}
